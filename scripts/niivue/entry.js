// What the viewer's 3-D view uses of NiiVue; the rest is left out of the bundle.
export { NVImage, Niivue, SLICE_TYPE } from "@niivue/niivue";
