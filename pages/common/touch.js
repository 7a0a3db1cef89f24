// Cells over the picture beside which this component stands: see touch.py. Hovering stays in the browser; a click, or
// an arrow key once the keys rest, sends the number of a cell; so does Enter, where a choice leads to another view and
// arrows only look round. Words from outside only ever become textContent.
const REST = 300;
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export default function ({ data, parentElement, setTriggerValue }) {
  const cells = parentElement.querySelector(".cells");
  const [hovered, chosen, unit] = cells.children;
  const words = parentElement.querySelector(".words");
  const place = (parentElement.host ?? parentElement).closest("[class*='st-key-touch-']");
  const picture = () => place.querySelector("[data-testid='stImage'] img");
  const { columns, count, gap, margin } = data;
  const rows = Math.ceil(count / columns);
  const walk = cells.state ??= { shown: null, timer: null };
  if (walk.timer === null) walk.shown = data.chosen;

  // Where a cell is, in shares of the picture.
  function tile(cell) {
    if (data.boxes) {
      const [x, y, width, height] = data.boxes[cell];
      return { x, y, width, height };
    }
    const along = (index, all, length) => {
      const pitch = (length - 2 * margin + gap) / all;
      return [(margin + index * pitch) / length, (pitch - gap) / length];
    };
    const [x, width] = along(cell % columns, columns, picture().naturalWidth);
    const [y, height] = along(Math.floor(cell / columns), rows, picture().naturalHeight);
    return { x, y, width, height };
  }

  // What the frame of a cell encloses: the tile itself, or what a unit sees of the image.
  function box(cell) {
    if (!data.field) return tile(cell);
    const seen = ([start, stride, size], index) => {
      const within = (edge) => Math.min(Math.max(edge, 0), data.side) / data.side;
      const first = within(start + index * stride);
      return [first, within(start + index * stride + size) - first];
    };
    const [y, height] = seen(data.field[0], Math.floor(cell / columns));
    const [x, width] = seen(data.field[1], cell % columns);
    return { x, y, width, height };
  }

  // The picture itself: an <img> may be wider or higher than what it draws.
  function drawn() {
    const { naturalWidth: wide, naturalHeight: high } = picture();
    const frame = picture().getBoundingClientRect();
    const scale = Math.min(frame.width / wide, frame.height / high);
    const [width, height] = [wide * scale, high * scale];
    return { left: frame.left + (frame.width - width) / 2, top: frame.top + (frame.height - height) / 2, width, height };
  }

  function at(event) {
    const { left, top, width, height } = drawn();
    if (data.boxes) {
      const [across, down] = [(event.clientX - left) / width, (event.clientY - top) / height];
      const inside = ([x, y, wide, high]) => across >= x && across < x + wide && down >= y && down < y + high;
      const box = data.boxes.findIndex(inside);
      return box < 0 ? null : box;
    }
    const index = (share, all, length) =>
      Math.floor(((share * length - margin + gap / 2) / (length - 2 * margin + gap)) * all);
    const column = index((event.clientX - left) / width, columns, picture().naturalWidth);
    const row = index((event.clientY - top) / height, rows, picture().naturalHeight);
    const cell = row * columns + column;
    return column >= 0 && column < columns && row >= 0 && cell < count ? cell : null;
  }

  const inWords = (cell) =>
    (data.words?.[cell] ?? `row ${Math.floor(cell / columns)}, column ${cell % columns}: ${data.values[cell]}`) +
    (data.note ? `\n${data.note}` : "");

  function frame(element, enclosed) {
    element.hidden = !enclosed;
    if (!enclosed) return;
    const { x, y, width, height } = enclosed;
    Object.entries({ left: x, top: y, width, height }).forEach(([side, share]) => {
      element.style[side] = `${100 * share}%`;
    });
  }

  function describe(cell) {
    words.hidden = cell === null;
    if (cell === null) return;
    words.textContent = inWords(cell);
    const { x, y, width, height } = tile(cell), low = y > 0.5;
    const { left, width: across } = drawn(), wider = words.offsetWidth > across;
    const end = wider ? left + across / 2 > innerWidth / 2 : x > 0.5;
    words.style.left = end ? "auto" : wider ? 0 : `${100 * x}%`;
    words.style.right = !end ? "auto" : wider ? 0 : `${100 * (1 - x - width)}%`;
    words.style.top = low ? "auto" : `calc(${100 * (y + height)}% + 6px)`;
    words.style.bottom = low ? `calc(${100 * (1 - y)}% + 6px)` : "auto";
  }

  function hover(cell) {
    frame(hovered, cell === null ? null : box(cell));
    describe(cell);
  }

  function show(cell) {
    walk.shown = cell;
    frame(chosen, cell === null ? null : box(cell));
    frame(unit, cell === null || !data.field ? null : tile(cell));
    cells.setAttribute("aria-valuenow", cell ?? 0);
    cells.setAttribute("aria-valuetext", cell === null ? "" : inWords(cell));
  }

  function redraw() {
    if (!picture()?.naturalWidth) return;
    const { left, top, width, height } = drawn();
    for (const element of [cells, words.parentElement]) {
      element.style.left = element.style.top = "0px";
      const origin = element.getBoundingClientRect();
      Object.assign(element.style, { left: `${left - origin.left}px`, top: `${top - origin.top}px` });
      Object.assign(element.style, { width: `${width}px`, height: `${height}px` });
    }
    show(walk.shown);
  }

  function send(cell) {
    clearTimeout(walk.timer);
    walk.timer = null;
    if (cells.isConnected) setTriggerValue("cell", cell);
  }

  cells.setAttribute("aria-label", data.label);
  cells.setAttribute("aria-valuemax", count - 1);
  function step([down, across]) {
    if (walk.shown === null) return 0;
    const column = walk.shown % columns + across, next = walk.shown + down * columns + across;
    return column < 0 || column >= columns || next < 0 || next >= count ? null : next;
  }

  cells.onkeydown = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (data.leads_away && event.key === "Enter" && walk.shown !== null) return send(walk.shown);
    if (!STEPS[event.key]) return;
    event.preventDefault();
    const next = step(STEPS[event.key]);
    if (next === null) return;
    show(next);
    describe(next);
    clearTimeout(walk.timer);
    if (!data.leads_away) walk.timer = setTimeout(() => send(next), REST);
  };
  cells.onblur = () => hover(null);

  const until = new AbortController();
  const on = (event, act, capture = false) => place.addEventListener(event, act, { signal: until.signal, capture });
  on("pointermove", (event) => hover(event.target === picture() ? at(event) : null));
  on("pointerleave", (event) => event.pointerType === "touch" || hover(null)); // a finger is lifted before the click
  on("click", (event) => {
    const cell = event.target === picture() ? at(event) : null;
    if (cell === null) return;
    show(cell);
    cells.focus({ preventScroll: true });
    describe(cell);
    send(cell);
  });
  on("load", redraw, true);
  const size = new ResizeObserver(redraw);
  size.observe(place);
  if (picture()) size.observe(picture());
  redraw();
  return () => {
    until.abort();
    size.disconnect();
  };
}
