// Stands in for zarrita in the bundle: the viewer sends NIfTI only, and Zarr with its decoders is more than half of the bundle.
const absent = () => {
  throw new Error("This build of NiiVue reads no Zarr.");
};
export const FetchStore = absent;
export const get = absent;
export const open = absent;
export const root = absent;
export const slice = absent;
