"""The viewer: a Streamlit page on this machine. Ships as `unetq.app`."""
