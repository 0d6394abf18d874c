// The what-if part: sliders for the weights, and the loss that they predict.
(() => {
  "use strict";
  const N = whatIfNumbers;
  const holder = document.getElementById("what-if-data");
  if (!holder) return;
  const root = document.documentElement;
  const payload = JSON.parse(holder.textContent);
  const { sources, marks } = payload;
  const k = sources.length;
  const byId = (name) => document.getElementById("wi-" + name);
  const SETTLED = 150; // ms without a change: slower figures, and what is read aloud, follow then
  const SHOWN = 400; // sources in the list at once

  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element) element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const drawn = (tag, attributes = {}, text = null) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    return element;
  };
  const minus = (text) => text.replace(/-/g, "\u2212");
  const number = (value, digits) => (Number.isFinite(value) ? minus(value.toFixed(digits)) : "\u221e");
  const percent = (share, digits = 2) => minus((100 * share).toFixed(digits)) + "\u202f%";
  const nameOf = (i) => (sources[i].trim() ? sources[i] : "(no name)");

  // ---- state ------------------------------------------------------------------------------------------------------
  let targets = []; // with their arrays
  let at = 0; // the target in the large figure
  let range = 1; // the share at the right end of a slider
  let w = Float64Array.from(marks.find((mark) => mark.kind === "search")?.weights ?? marks[0].weights);
  const locked = new Uint8Array(k);
  let found = []; // per target {loss, rows} of the weights now
  const known = new Map(); // "target mark" -> {loss, rows}

  const ofMark = (t, m) => {
    const key = t + " " + m;
    if (!known.has(key)) known.set(key, N.lossOf(targets[t], marks[m].weights));
    return known.get(key);
  };
  const uniform = marks.findIndex((mark) => mark.kind === "uniform");
  const optimumOf = (t) => payload.targets[t].optimum;
  const compared = (t, m) => m === optimumOf(t) || m === uniform || marks[m].kind === "measured";
  const unitOf = (t) => payload.targets[t].kind === "rows" ? "nats per " + payload.targets[t].unit : payload.targets[t].unit;

  // ---- one source's line ------------------------------------------------------------------------------------------
  const rows = [];
  const place = (share) => Math.min((100 * share) / range, 100) + "%";

  const stripOf = (i) => {
    const strip = drawn("svg", { class: "wi-strip", "aria-hidden": "true", focusable: "false" });
    strip.append(drawn("rect", { class: "wi-track", x: "0", y: "9", width: "100%", height: "4", rx: "2" }));
    const parts = [];
    const part = (low, high, className) => {
      if (high <= low) return;
      const line = drawn("line", { class: className, y1: "11", y2: "11" });
      parts.push(() => {
        line.setAttribute("x1", place(low));
        line.setAttribute("x2", place(high));
        line.classList.toggle("wi-off", low > range);
      });
      strip.append(line);
    };
    const interval = marks[optimumOf(at) ?? -1]?.interval?.[i];
    if (interval) part(interval[0], Math.max(interval[1], interval[0] + 1e-9), "wi-interval");
    part(0, payload.lower[i], "wi-forbidden");
    part(payload.upper[i], 1, "wi-forbidden");
    marks.forEach((mark, m) => {
      const use = drawn("use", { href: "#wi-mark-" + m, class: "wi-mark", width: "11", height: "12.6", y: "22" });
      parts.push(() => {
        use.setAttribute("x", place(mark.weights[i]));
        use.classList.toggle("wi-off", mark.weights[i] > range * 1.0001);
      });
      strip.append(use);
    });
    const drawAgain = () => parts.forEach((again) => again());
    drawAgain();
    return { strip, drawAgain };
  };

  const rowOf = (i) => {
    const id = "wi-source-" + i;
    const title = make("bdi", { className: "name", textContent: nameOf(i) });
    const label = make("label", { className: "wi-name", htmlFor: id }, title);
    const slider = make("input", { type: "range", id, className: "wi-slider", min: "0", autocomplete: "off" });
    const field = make("input", {
      type: "number", min: "0", max: "100", className: "wi-field", inputMode: "decimal", autocomplete: "off",
      "aria-label": nameOf(i) + ", per cent",
    });
    const lock = make("input", { type: "checkbox", "aria-label": "Lock " + nameOf(i), autocomplete: "off" });
    const slope = make("span", { className: "wi-slope" });
    const svg = stripOf(i);
    const box = make("div", { className: "wi-row" },
      label,
      make("div", { className: "wi-bar" }, svg.strip, slider),
      make("span", { className: "wi-value" }, field, "\u202f%"),
      make("label", { className: "wi-lock" }, lock, " lock"),
      slope,
    );
    slider.addEventListener("input", () => ask(i, Number(slider.value) / 100));
    field.addEventListener("change", () => {
      const value = Number(field.value);
      if (field.value.trim() === "" || !Number.isFinite(value)) say("A weight is a number from 0 to 100 per cent.");
      else ask(i, value / 100);
      shown[i] = NaN; // the field shows what became of it
      later();
    });
    lock.addEventListener("change", () => {
      locked[i] = lock.checked ? 1 : 0;
      box.classList.toggle("wi-locked", lock.checked);
    });
    return { box, title, slider, field, lock, slope, svg };
  };
  const shown = new Float64Array(k).fill(NaN); // what the lines show

  const scaleLines = () => {
    const digits = range > 0.2 ? 2 : 3;
    for (const row of rows) {
      row.slider.max = 100 * range;
      row.slider.step = range / 10;
      row.field.step = range;
      row.svg.drawAgain();
    }
    shown.fill(NaN);
    scaleLines.digits = digits;
  };

  const paintLines = () => {
    for (let i = 0; i < k; i++) {
      if (w[i] === shown[i] || !rows[i].box.isConnected) continue; // one that is not in the list waits
      shown[i] = w[i];
      const { slider, field } = rows[i];
      slider.value = 100 * w[i];
      slider.setAttribute("aria-valuetext", percent(w[i]));
      field.value = (100 * w[i]).toFixed(scaleLines.digits);
    }
  };

  // ---- figures ----------------------------------------------------------------------------------------------------
  const above = (t, m) => {
    const other = ofMark(t, m);
    return { value: found[t].loss - other.loss, error: N.errorOf(targets[t], found[t], other) };
  };
  const withError = (value, error, digits = 4) =>
    number(value, digits) + (error > 0 ? " \u00b1\u202f" + number(error, digits) : "");
  const signed = (value, digits = 4) => (value > 0 && Number(value.toFixed(digits)) !== 0 ? "+" : "") + number(Number(value.toFixed(digits)) === 0 ? 0 : value, digits);

  const sentence = (m) => {
    const { value, error } = above(at, m);
    if (!Number.isFinite(value)) return "no number against";
    if (Math.abs(value) < 5e-7) return "the same as";
    return withError(Math.abs(value), error) + (value > 0 ? " above" : " below");
  };

  const paintFigures = () => {
    const loss = found[at].loss;
    byId("loss").textContent = Number.isFinite(loss) ? number(loss, 6) : "\u221e";
    byId("impossible").hidden = Number.isFinite(loss);
    byId("unit").textContent = unitOf(at);
    const { rows: n, of, losses } = payload.targets[at];
    const best = optimumOf(at) ?? uniform;
    const whole = byId("whole");
    if (targets[at].kind === "law") byId("play").classList.add("wi-old"); // intervals take longer: they follow
    else if (n < of && best >= 0 && losses[best] !== null && Number.isFinite(loss)) {
      const { value, error } = above(at, best);
      whole.textContent = "on " + n.toLocaleString("en") + " of " + of.toLocaleString("en") + " rows; on all of them about " +
        withError(losses[best] + value, error);
    } else whole.textContent = "on all " + of.toLocaleString("en") + " rows";
    for (const item of byId("against").children) {
      const m = Number(item.dataset.mark);
      item.hidden = !compared(at, m);
      if (!item.hidden) item.querySelector(".wi-how").textContent = sentence(m);
    }
    targets.forEach((_, t) => {
      const line = byId("target-" + t);
      line.querySelector(".wi-now").firstChild.textContent = number(found[t].loss, 6);
      for (const [className, m] of [["wi-to-optimum", optimumOf(t)], ["wi-to-uniform", uniform]]) {
        const cell = line.querySelector("." + className);
        if (m === null || m < 0) cell.textContent = "\u2013";
        else {
          const { value, error } = above(t, m);
          cell.textContent = Number.isFinite(value) ? signed(value) : "\u2013";
          if (error > 0 && Number.isFinite(error)) cell.append(make("span", { className: "under", textContent: "\u00b1\u202f" + number(error, 4) }));
        }
      }
    });
  };

  const paintIntervals = () => {
    if (targets[at].kind !== "law") return;
    const near = targets[at].near(w);
    const ends = targets.map((target) => target.interval(w, near));
    const words = ([low, high], digits) => number(low, digits) + " to " + number(high, digits);
    byId("whole").textContent = percent(payload.level, 0) + " interval " + words(ends[at], 4);
    targets.forEach((_, t) => {
      byId("target-" + t).querySelector(".wi-ends").textContent = words(ends[t], 6);
    });
    byId("play").classList.remove("wi-old");
  };

  const limited = payload.lower.some((v) => v > 0) || payload.upper.some((v) => v < 1) || payload.limits.length > 0 || payload.distance;
  const paintLimits = () => {
    if (!limited) return;
    const broken = N.violations(payload, w);
    const state = byId("allowed");
    state.className = "state " + (broken.length ? "worse" : "better");
    state.textContent = broken.length ? "Not allowed: " + broken.length + (broken.length === 1 ? " limit is" : " limits are") + " broken" : "Within all limits";
    byId("broken").replaceChildren(
      ...broken.slice(0, 6).map((one) => {
        const amount = (value) => (one.plain ? number(value, 4) : percent(value));
        const what = make("bdi", { textContent: one.label ?? nameOf(one.source) });
        const side = one.label ? "" : one.above ? "its cap of " : "its floor of ";
        const text = " is " + amount(one.value) + ", " + (one.above ? "above " : "below ") + side + amount(one.limit);
        return make("li", {}, what, one.label ? ": " + amount(one.value) : text);
      }),
      ...(broken.length > 6 ? [make("li", { textContent: "and " + (broken.length - 6) + " more" })] : []),
    );
  };

  const paintSlopes = () => {
    const change = N.changes(targets[at], w, 0.01);
    rows.forEach((row, i) => {
      row.value = change[i];
      row.slope.textContent = "+1\u202fpt: " + (Number.isFinite(change[i]) ? signed(change[i], 5) : "\u2013");
    });
  };

  const paintGroups = () => {
    for (const group of groups) {
      group.total.textContent = percent(group.members.reduce((sum, i) => sum + w[i], 0));
    }
  };

  // ---- changes ----------------------------------------------------------------------------------------------------
  let waiting = 0;
  let settling = 0;
  const later = () => {
    if (!waiting) waiting = requestAnimationFrame(paint);
  };
  const paint = () => {
    waiting = 0;
    const start = performance.now();
    found = targets.map((target) => N.lossOf(target, w));
    paintLines();
    paintFigures();
    paintLimits();
    paintGroups();
    curve.point();
    performance.clearMeasures("what-if");
    performance.measure("what-if", { start, end: performance.now() });
    clearTimeout(settling);
    settling = setTimeout(settle, SETTLED);
  };
  const settle = () => {
    paintSlopes();
    paintIntervals();
    writeText();
    byId("said").textContent = "Predicted loss " + byId("loss").textContent + " " + unitOf(at) + ", " +
      [...byId("against").children].filter((item) => !item.hidden).map((item) => item.textContent.trim()).join(", ");
  };
  const say = (text) => {
    byId("note").textContent = text;
  };
  const ask = (i, wanted) => {
    const next = N.moved(w, i, Math.min(Math.max(wanted, 0), 1), locked, payload.lower, payload.upper);
    shown[i] = NaN;
    if (!next) say("The locked weights leave no choice for " + nameOf(i) + "; unlock one.");
    else {
      w = next;
      say(Math.abs(w[i] - wanted) > 1e-9 ? nameOf(i) + " was kept at " + percent(w[i]) + " by limits or locks." : "");
    }
    later();
  };
  const set = (weights) => {
    w = Float64Array.from(weights);
    say("");
    later();
  };

  // ---- the list: found, sorted, grouped ---------------------------------------------------------------------------
  let groups = [];
  let all = false; // more than SHOWN are wanted
  const orders = {
    given: () => 0,
    name: (a, b) => sources[a].localeCompare(sources[b], "en", { numeric: true }),
    weight: (a, b) => w[b] - w[a],
    gain: (a, b) => (rows[a].value || 0) - (rows[b].value || 0),
  };
  const arrange = () => {
    paintSlopes();
    const wanted = byId("find").value.trim().toLowerCase();
    const order = [...sources.keys()].filter((i) => sources[i].toLowerCase().includes(wanted));
    order.sort((a, b) => orders[byId("sort").value](a, b) || a - b);
    const limit = all ? k : SHOWN;
    const taken = order.slice(0, limit);
    groups = [];
    const list = byId("list");
    if (byId("group")?.checked) list.replaceChildren(...grouped(taken));
    else list.replaceChildren(...taken.map((i) => rows[i].box));
    paintLines();
    byId("more").hidden = taken.length === order.length;
    byId("shown").textContent = taken.length + " of " + k + " sources shown";
    paintGroups();
  };
  const closed = new Set();
  const grouped = (order) => {
    const owner = new Map();
    payload.groups.forEach((group, g) => group.sources.forEach((i) => owner.has(i) || owner.set(i, g)));
    const parts = payload.groups.map(() => []);
    const rest = [];
    for (const i of order) (owner.has(i) ? parts[owner.get(i)] : rest).push(i);
    const list = parts.map((members, g) => ({ name: payload.groups[g].name, all: payload.groups[g].sources, members, key: g }));
    const others = [...sources.keys()].filter((i) => !owner.has(i));
    if (others.length) list.push({ name: "(no group)", all: others, members: rest, key: -1 });
    return list.filter((group) => group.members.length).map(groupBox);
  };
  const groupBox = ({ name, all: members, members: visible, key }) => {
    const total = make("span", { className: "wi-total" });
    const body = make("div", { className: "wi-members", hidden: closed.has(key) }, ...visible.map((i) => rows[i].box));
    const title = make("bdi", { className: "name", textContent: name.trim() ? name : "(no name)" });
    const button = make("button", { type: "button", className: "wi-fold", "aria-expanded": String(!closed.has(key)) },
      title, " ", make("span", { className: "quiet", textContent: members.length + (members.length === 1 ? " source" : " sources") }), total);
    button.addEventListener("click", () => {
      body.hidden = !body.hidden;
      button.setAttribute("aria-expanded", String(!body.hidden));
      if (body.hidden) closed.add(key);
      else closed.delete(key);
    });
    groups.push({ members, total });
    return make("div", { className: "wi-group" }, button, body);
  };

  // ---- the text to copy -------------------------------------------------------------------------------------------
  let form = "yaml";
  const writeText = () => {
    byId("text").value = form === "yaml" ? N.asYaml(sources, w) : N.asJson(payload, w);
    byId("text-label").textContent = form === "yaml" ? "As YAML: {source: weight}" : "As JSON: a whole mixture.json";
  };
  const copy = async (wanted) => {
    form = wanted;
    writeText();
    const text = byId("text");
    try {
      await navigator.clipboard.writeText(text.value);
      byId("copied").textContent = "Copied.";
    } catch (error) {
      text.focus();
      text.select();
      byId("copied").textContent = "The browser does not let this page copy: the text is selected, copy it with Ctrl+C (\u2318C).";
    }
  };

  // ---- two targets ------------------------------------------------------------------------------------------------
  const curve = (() => {
    const figure = byId("curve");
    if (!figure) return { start() {}, point() {} };
    const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [330, 62, 26, 12, 46];
    let WIDTH = 460;
    let pair, points, box, dot, scaleX, scaleY;
    const inside = (x, y) => x >= box[0] && x <= box[1] && y >= box[2] && y <= box[3];
    const bounds = (values) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const room = 0.08 * (high - low || Math.abs(high) * 0.02 || 1e-3);
      return [low - room, high + room];
    };
    const ticks = (low, high) => {
      const raw = (high - low) / 4;
      const power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
      const out = [];
      for (let v = Math.ceil(low / step) * step; v <= high; v += step) out.push(v);
      return { values: out, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
    };
    const label = (t) => {
      const { name, unit, kind } = payload.targets[t];
      const short = name.length > 24 ? name.slice(0, 10) + "\u2026" + name.slice(-12) : name;
      return short + (kind === "rows" ? ", nats per " + unit : "");
    };
    const draw = () => {
      WIDTH = Math.min(Math.max(figure.clientWidth - 20, 260), 560);
      ({ pair, points } = payload.curves[Number(byId("pair")?.value ?? 0)]);
      const [a, b] = pair;
      const at = marks.map((_, m) => [ofMark(a, m).loss, ofMark(b, m).loss]);
      const near = points.map((p) => p.losses).filter((p) => p.every(Number.isFinite));
      const own = [...bounds(near.map((p) => p[0])), ...bounds(near.map((p) => p[1]))];
      const wide = [own[1] - own[0], own[3] - own[2]];
      const close = at.filter(([x, y]) => x <= own[1] + 3 * wide[0] && y <= own[3] + 3 * wide[1]);
      box = [...bounds([...near, ...close].map((p) => p[0])), ...bounds([...near, ...close].map((p) => p[1]))];
      scaleX = (x) => LEFT + ((x - box[0]) / (box[1] - box[0])) * (WIDTH - LEFT - RIGHT);
      scaleY = (y) => HEIGHT - BOTTOM - ((y - box[2]) / (box[3] - box[2])) * (HEIGHT - TOP - BOTTOM);
      const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "wi-plane" });
      svg.setAttribute("aria-label", "Losses of two targets: the curve is the best for one at each price for the other. " +
        near.length + " points, from " + near[0].map((v) => number(v, 4)).join(" and ") + " to " + near.at(-1).map((v) => number(v, 4)).join(" and ") + ".");
      for (const [values, horizontal] of [[ticks(box[0], box[1]), true], [ticks(box[2], box[3]), false]]) {
        for (const v of values.values) {
          const [x, y] = [scaleX(v), scaleY(v)];
          svg.append(horizontal
            ? drawn("path", { class: "wi-grid", d: `M${x} ${TOP}V${HEIGHT - BOTTOM}` })
            : drawn("path", { class: "wi-grid", d: `M${LEFT} ${y}H${WIDTH - RIGHT}` }));
          svg.append(horizontal
            ? drawn("text", { x, y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, number(v, values.digits))
            : drawn("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, number(v, values.digits)));
        }
      }
      svg.append(drawn("text", { class: "wi-axis", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, label(a)));
      svg.append(drawn("text", { class: "wi-axis", transform: `translate(13 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" }, label(b)));
      svg.append(drawn("path", { class: "wi-front", d: "M" + near.map(([x, y]) => scaleX(x) + " " + scaleY(y)).join("L") }));
      for (const [x, y] of near) svg.append(drawn("circle", { class: "wi-knot", cx: scaleX(x), cy: scaleY(y), r: 2.5 }));
      const outside = [];
      at.forEach(([x, y], m) => {
        if (inside(x, y)) svg.append(drawn("use", { href: "#wi-mark-" + m, x: scaleX(x) - 7, y: scaleY(y) - 8, width: 14, height: 16 }));
        else outside.push(marks[m].name);
      });
      dot = drawn("circle", { class: "wi-dot", r: 7 });
      svg.append(dot);
      figure.replaceChildren(svg);
      const said = byId("outside");
      said.hidden = outside.length === 0;
      said.replaceChildren("Outside the picture: ", ...outside.flatMap((name, j) => [j ? ", " : "", make("bdi", { textContent: name })]));
      byId("along").max = points.length - 1;
      byId("along").disabled = points.length < 2;
      byId("one").hidden = points.length > 1;
      point();
    };
    const point = () => {
      const [x, y] = pair.map((t) => found[t].loss);
      const clamp = (v, low, high) => Math.min(Math.max(Number.isFinite(v) ? v : high, low), high);
      dot.setAttribute("cx", scaleX(clamp(x, box[0], box[1])));
      dot.setAttribute("cy", scaleY(clamp(y, box[2], box[3])));
      dot.classList.toggle("wi-far", !inside(x, y));
      const along = byId("along");
      if (document.activeElement === along) return;
      const far = points.map(({ losses: [a, b] }) => Math.hypot(scaleX(a) - scaleX(x), scaleY(b) - scaleY(y)));
      along.value = far.indexOf(Math.min(...far)); // the nearest
    };
    const start = () => {
      draw();
      byId("pair")?.addEventListener("change", draw);
      window.addEventListener("resize", draw);
      byId("along").addEventListener("input", () => {
        const chosen = points[Number(byId("along").value)];
        const weights = new Float64Array(k);
        for (const [i, value] of chosen.weights) weights[i] = value;
        const total = weights.reduce((a, b) => a + b, 0);
        set(weights.map((value) => value / total));
        byId("along").setAttribute("aria-valuetext", "point " + (Number(byId("along").value) + 1) + " of " + points.length);
      });
    };
    return { start, point };
  })();

  // ---- start ------------------------------------------------------------------------------------------------------
  const chooseRange = () => {
    const ends = marks.flatMap((mark) => (mark.kind === "best_single" ? [] : [...mark.weights, ...(mark.interval ?? []).map((pair) => pair[1])]));
    const most = Math.max(...ends, 3 / k) * 1.05;
    const offered = [...byId("range").options].map((option) => Number(option.value));
    byId("range").value = offered.filter((end) => end >= 100 * most).sort((a, b) => a - b)[0] ?? 100;
    range = Number(byId("range").value) / 100;
  };

  const listen = () => {
    for (const button of document.querySelectorAll("[data-wi-set]")) {
      button.addEventListener("click", () => set(marks[Number(button.dataset.wiSet)].weights));
    }
    for (const button of document.querySelectorAll("[data-wi-wish]")) {
      button.addEventListener("click", () => {
        set(payload.wishes[Number(button.dataset.wiWish)]);
        document.getElementById("what-if").scrollIntoView();
      });
    }
    byId("target")?.addEventListener("change", () => {
      at = Number(byId("target").value);
      for (let i = 0; i < k; i++) {
        const svg = stripOf(i);
        rows[i].svg.strip.replaceWith(svg.strip);
        rows[i].svg = svg;
      }
      later();
    });
    byId("range").addEventListener("change", () => {
      range = Number(byId("range").value) / 100;
      scaleLines();
      later();
    });
    byId("unlock").addEventListener("click", () => {
      locked.fill(0);
      for (const row of rows) {
        row.lock.checked = false;
        row.box.classList.remove("wi-locked");
      }
    });
    for (const name of ["sort", "group"]) byId(name)?.addEventListener("change", arrange);
    byId("again").addEventListener("click", arrange);
    byId("find").addEventListener("input", arrange);
    byId("more").addEventListener("click", () => {
      all = true;
      arrange();
    });
    byId("yaml").addEventListener("click", () => copy("yaml"));
    byId("json").addEventListener("click", () => copy("json"));
  };

  const start = async () => {
    try {
      targets = N.targetsOf(payload, await N.unzipped(payload.data));
      for (let i = 0; i < k; i++) rows.push(rowOf(i));
      chooseRange();
      scaleLines();
      listen();
      found = targets.map((target) => N.lossOf(target, w));
      byId("play").hidden = false;
      curve.start();
      paint();
      settle();
      arrange();
      root.dataset.whatIf = "ready";
    } catch (error) {
      root.dataset.whatIf = "failed";
      byId("play").hidden = true;
      byId("failed").hidden = false;
      byId("failed").textContent = "The sliders could not be made by this browser (" + error.message + "); the table below has the numbers.";
    }
  };
  start();
})();
