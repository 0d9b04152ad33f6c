// The planes of a study: pictures come from the server; this draws cross-hair and letters and says where a person points.
const WHEEL = 40; // pixels of scrolling to a slice
const FLAT = 44; // pixels of height below which the letters above and below would lie on each other
const PATIENCE = 400; // ms after which an unanswered event is given up

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".planes");
  const state = (root.state ??= { asked: 0, serial: 0 });
  state.asked = 0; // the answer is here
  state.send = (name, value) => {
    state.asked = performance.now();
    setTriggerValue(name, { ...value, serial: ++state.serial });
  };
  root.dataset.count = data.panes.length;
  root.dataset.layout = data.layout;
  while (root.children.length > data.panes.length) root.lastElementChild.remove();
  data.panes.forEach((pane, number) => {
    const figure = root.children[number] ?? root.appendChild(makeFigure(state, number));
    show(figure, pane, data.tool);
  });
}

// True while the server still draws: faster events would only queue up behind it.
const busy = (state) => state.asked && performance.now() - state.asked < PATIENCE;

function makeFigure(state, number) {
  const figure = document.createElement("figure");
  figure.tabIndex = 0;
  figure.innerHTML = `<figcaption><b></b><span class="words"></span>
    <span class="steps"><button type="button" aria-label="Slice back">&#8249;</button><span></span>
    <button type="button" aria-label="Slice on">&#8250;</button></span></figcaption>
    <div class="frame"><img alt=""><canvas></canvas><i class="down"></i><i class="across"></i><span class="left"></span>
    <span class="right"></span><span class="top"></span><span class="bottom"></span><span class="ruler"></span></div>
    <div class="legend"></div>`;
  const frame = figure.querySelector(".frame");
  const step = (by) => state.send("step", { pane: number, by });
  const [back, on] = figure.querySelectorAll("button");
  back.onclick = () => step(-1);
  on.onclick = () => step(1);
  figure.onkeydown = (event) => {
    const by = { ArrowUp: 1, ArrowRight: 1, PageUp: 10, ArrowDown: -1, ArrowLeft: -1, PageDown: -10 }[event.key];
    if (!by || event.target.tagName === "BUTTON") return;
    event.preventDefault();
    if (!busy(state)) step(by);
  };
  let rolled = 0;
  frame.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || figure.pane.slices < 2) return;
      event.preventDefault();
      rolled += event.deltaY * (event.deltaMode ? 16 : 1);
      const by = Math.trunc(rolled / WHEEL);
      if (!by || busy(state)) return;
      rolled = 0;
      step(by * figure.pane.down);
    },
    { passive: false },
  );
  pointing(figure, frame, state, number);
  return figure;
}

function pointing(figure, frame, state, number) {
  let line = null;
  const place = (event) => {
    const box = frame.getBoundingClientRect();
    const share = (n, start, length) => Math.min(Math.max((n - start) / length, 0), 1 - 1e-9);
    return [share(event.clientY, box.top, box.height), share(event.clientX, box.left, box.width)];
  };
  frame.onpointerdown = (event) => {
    if (event.button) return;
    figure.focus({ preventScroll: true });
    line = [place(event)];
    if (frame.dataset.tool === "look") return;
    frame.setPointerCapture(event.pointerId);
    stroke(frame, line, figure.tool);
  };
  frame.onpointermove = (event) => {
    if (!line) return;
    if (frame.dataset.tool === "look") {
      if (event.pointerType === "mouse" && !busy(state)) state.send("go", { pane: number, place: place(event) });
      return;
    }
    line.push(place(event));
    stroke(frame, line, figure.tool);
  };
  frame.onpointerup = (event) => {
    if (!line) return;
    if (frame.dataset.tool === "look") state.send("go", { pane: number, place: place(event) });
    else state.send("stroke", { pane: number, line });
    line = null;
  };
  frame.onpointercancel = frame.onpointerleave = () => {
    if (frame.dataset.tool === "look") line = null;
  };
}

// The brush shows at once where it went; the server's next picture takes its place.
function stroke(frame, line, tool) {
  const canvas = frame.querySelector("canvas");
  const [width, height] = [frame.clientWidth, frame.clientHeight];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = tool.name === "brush" ? "rgb(240 228 66 / .6)" : "rgb(255 255 255 / .6)";
  pen.lineWidth = Math.max(2, tool.share * width);
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  line.forEach(([y, x], k) => pen[k ? "lineTo" : "moveTo"](x * width, y * height));
  if (line.length === 1) pen.lineTo(line[0][1] * width + 0.1, line[0][0] * height);
  pen.stroke();
}

function show(figure, pane, tool) {
  const find = (name) => figure.querySelector(name);
  const frame = find(".frame");
  figure.pane = pane;
  figure.tool = { name: tool.name, share: tool.mm / pane.size[1] };
  find("b").textContent = pane.title;
  find(".words").textContent = pane.words;
  find(".steps").style.display = pane.slices > 1 ? "" : "none";
  find(".steps span").textContent = `${pane.slice} / ${pane.slices}`;
  frame.style.aspectRatio = `${pane.size[1]} / ${pane.size[0]}`;
  frame.style.maxWidth = `calc(74vh * ${pane.size[1] / pane.size[0]})`;
  frame.dataset.tool = tool.name;
  frame.dataset.cross = pane.cross ? 1 : 0;
  const image = find("img");
  const clear = () => find("canvas").getContext("2d").clearRect(0, 0, 1e5, 1e5);
  if (image.src !== pane.src) {
    image.onload = clear;
    image.src = pane.src;
  } else clear();
  image.alt = `${pane.title}, ${pane.words}, slice ${pane.slice} of ${pane.slices}`;
  if (pane.cross) {
    find("i.across").style.top = `${100 * pane.cross[0]}%`;
    find("i.down").style.left = `${100 * pane.cross[1]}%`;
  }
  const flat = frame.clientHeight && frame.clientHeight < FLAT;
  ["left", "right", "top", "bottom"].forEach((side, k) => (find(`.${side}`).textContent = flat && k > 1 ? "" : pane.letters[k]));
  const ruler = find(".ruler");
  ruler.style.display = pane.ruler ? "" : "none";
  if (pane.ruler) {
    ruler.textContent = pane.ruler[1];
    ruler.style.width = `${100 * pane.ruler[0]}%`;
  }
  const legend = find(".legend");
  legend.replaceChildren(
    ...pane.legend.map(([colour, words]) => {
      const item = document.createElement("span");
      const dot = document.createElement("em");
      dot.style.background = colour;
      item.append(dot, words);
      return item;
    }),
  );
}
