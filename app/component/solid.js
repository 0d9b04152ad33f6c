// The 3-D view: NiiVue shows the volumes that the server names; the cross-hair is the page's own, in millimetres.
// Azimuth and elevation of the camera in degrees, named by the patient's sides, or by what the camera looks across.
const PATIENT = { Front: [180, 0], Left: [90, 0], Top: [0, 90] };
const STACK = { Rows: [0, 0], Columns: [90, 0], Slices: [0, 90] };
const START = { patient: [150, 20], stack: [20, 40] };
const SIZE = 1.15;
const OFF = 2; // depth of a clip plane that clips nothing
const REACH = 0.6; // depths from which on a clip plane touches the body, whose sides are 1 long
const STILL = 4; // pixels that a hand may move in a click
const CROSS = [0.34, 0.71, 0.91, 1]; // as in the planes
const HINT = "drag to turn, wheel for size, click to move the cross-hair";
const NO_WEBGL =
  "The 3-D view needs WebGL 2, which this browser does not have or has turned off. The slices show the same masks: choose planes under Show.";

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".solid");
  // Through an image under a mask one should see.
  const state = (root.state ??= { serial: 0, work: Promise.resolve(), image: data.overlay ? 0.5 : 1, overlay: 0.9, cut: 0 });
  state.send = (place) => setTriggerValue("go", { place, serial: ++state.serial });
  if (!root.children.length) make(root, state, data);
  say(root, data);
  if (root.dataset.state !== "none") {
    // One after the other: a new slice may come while the volumes still load.
    state.work = state.work.then(() => update(root, state, data)).catch((error) => fail(root, error));
  }
  return () => {
    if (!root.isConnected) end(state); // Streamlit also calls this for a drawing that a newer one has overtaken
  };
}

function make(root, state, data) {
  root.innerHTML = `<div class="bar"><label>Image<input type="range" name="image" min="0" max="1" step="0.05"></label>
    <label class="of-overlay">Mask<input type="range" name="overlay" min="0" max="1" step="0.05"></label>
    <label>Cut<input type="range" name="cut" min="0" max="1" step="0.02"></label><span class="ways"></span></div>
    <div class="stage"><canvas></canvas><p class="said" role="status"></p></div><div class="legend"></div>`;
  const ways = root.querySelector(".ways");
  for (const [name, [azimuth, elevation]] of Object.entries(data.oriented ? PATIENT : STACK)) {
    const button = ways.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = name;
    button.onclick = () => state.nv?.setRenderAzimuthElevation(azimuth, elevation);
  }
  for (const input of root.querySelectorAll("input")) {
    input.value = state[input.name];
    input.oninput = () => {
      state[input.name] = Number(input.value);
      if (input.name === "cut") cut(state);
      else if (state.nv) opacity(state);
    };
  }
  const has = document.createElement("canvas").getContext("webgl2");
  has?.getExtension("WEBGL_lose_context")?.loseContext(); // browsers allow only a few at a time
  root.dataset.state = has ? "loading" : "none";
  root.querySelector(".said").textContent = has ? "Loading ..." : NO_WEBGL;
}

function say(root, data) {
  root.querySelector("canvas").setAttribute("aria-label", `${data.title}, a body to turn`);
  root.querySelector(".of-overlay").style.display = data.overlay ? "" : "none";
  const entries = (data.overlay?.legend ?? []).map(([colour, words]) => {
    const [item, dot] = ["span", "em"].map((tag) => document.createElement(tag));
    dot.style.background = colour;
    item.append(dot, words);
    return item;
  });
  const words = [data.title, HINT, data.thinned && `one point for ${data.thinned} voxels`].filter(Boolean).join("; ");
  root.querySelector(".legend").replaceChildren(...entries, words);
}

async function update(root, state, data) {
  const nv = (state.nv ??= await begin(root, state, data));
  if (state.ended) return;
  if (state.shown !== `${data.image} ${data.overlay?.file}`) {
    await load(root, nv, state, data);
  } else if (String(state.window) !== String(data.window)) {
    [nv.volumes[0].cal_min, nv.volumes[0].cal_max] = data.window;
    nv.updateGLVolume();
  }
  state.window = data.window;
  // In millimetres: NiiVue's voxels are in RAS order, whatever the order in the file. The last argument makes it convert by the
  // file's own affine.
  nv.scene.crosshairPos = nv.mm2frac(data.place, 0, true);
  nv.drawScene();
  root.dataset.place = placeOf(nv).join(" ");
  root.dataset.state = "ready";
}

async function begin(root, state, data) {
  const { Niivue, SLICE_TYPE } = await import(new URL(data.library, document.baseURI));
  const nv = new Niivue({
    show3Dcrosshair: true,
    crosshairColor: CROSS,
    dragAndDropEnabled: false, // a file dropped here would be shown beside a study it does not belong to
    scrollRequiresFocus: true,
    sliceType: SLICE_TYPE.RENDER,
    isOrientCube: data.oriented,
    clipPlaneColor: [0, 0, 0, 0],
    logLevel: "error",
    loadingText: "",
    clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "",
    viewModeHotKey: "",
  });
  await nv.attachToCanvas(root.querySelector("canvas"), true);
  nv.setRenderAzimuthElevation(...(data.oriented ? START.patient : START.stack));
  const { clientWidth: width, clientHeight: height } = root.querySelector(".stage");
  nv.setScale(Math.min(SIZE, width / height)); // NiiVue fits the height alone
  pointing(root, nv, state);
  return nv;
}

// A drag turns the body, which is NiiVue's own; a click finds what lies under it, for which NiiVue wants two clicks.
function pointing(root, nv, state) {
  const { canvas } = nv;
  let pressed = [0, 0];
  canvas.addEventListener("pointerdown", ({ clientX, clientY }) => (pressed = [clientX, clientY]));
  canvas.addEventListener("click", ({ clientX, clientY }) => {
    if (root.dataset.state !== "ready" || Math.hypot(clientX - pressed[0], clientY - pressed[1]) > STILL) return;
    const box = canvas.getBoundingClientRect();
    nv.mousePos = [(clientX - box.left) * nv.uiData.dpr, (clientY - box.top) * nv.uiData.dpr];
    const before = String(nv.scene.crosshairPos);
    nv.uiData.mouseDepthPicker = true;
    nv.drawScene();
    nv.drawScene();
    if (String(nv.scene.crosshairPos) !== before) state.send(placeOf(nv));
  });
}

const placeOf = (nv) => Array.from(nv.frac2mm(nv.scene.crosshairPos, 0, true)).slice(0, 3);

async function load(root, nv, state, data) {
  root.dataset.state = "loading";
  const { overlay } = data;
  const [low, high] = data.window;
  const address = (path) => String(new URL(path, document.baseURI));
  const files = [{ url: address(data.image), name: "image.nii", colormap: "gray", cal_min: low, cal_max: high }];
  if (overlay) files.push({ url: address(overlay.file), name: "overlay.nii" });
  if (overlay?.heat) {
    const [R, G, B] = overlay.colours;
    const spread = R.map((_, n) => Math.round((255 * n) / (R.length - 1)));
    nv.addColormap("heat", { R, G, B, A: spread.map((n) => Math.min(255, 2 * n)), I: spread, min: 0, max: 255 });
    Object.assign(files[1], { colormap: "heat", cal_min: 0, cal_max: 255 });
  }
  await nv.loadVolumes(files);
  if (overlay && !overlay.heat) {
    const [R, G, B] = overlay.colours.map((channel) => [0, ...channel]);
    nv.volumes[1].setColormapLabel({ R, G, B, A: R.map((_, n) => (n ? 255 : 0)), I: R.map((_, n) => n) });
  }
  opacity(state, nv);
  state.shown = `${data.image} ${overlay?.file}`;
}

function opacity(state, nv = state.nv) {
  nv.volumes.forEach((volume, n) => (volume.opacity = n ? state.overlay : state.image));
  nv.updateGLVolume();
}

// Takes away what is nearer than a plane across the line of sight; the plane stays in the body when that is turned.
function cut(state) {
  const { nv } = state;
  if (!nv) return;
  const [x, y, z] = nv.calculateRayDirection(nv.scene.renderAzimuth, nv.scene.renderElevation);
  const degrees = (radians) => (180 / Math.PI) * radians;
  nv.setClipPlane([state.cut ? REACH * (1 - 2 * state.cut) : OFF, degrees(Math.atan2(y, x)) - 90, degrees(Math.asin(-z))]);
}

function fail(root, error) {
  root.dataset.state = "failed";
  root.querySelector(".said").textContent = `The 3-D view does not work here: ${error.message ?? error}`;
}

function end(state) {
  state.ended = true;
  if (!state.nv) return;
  state.nv.cleanup();
  state.nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
}
