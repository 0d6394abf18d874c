// The arithmetic of the what-if part: no document, no state.
const whatIfNumbers = (() => {
  "use strict";
  const TINY = 1e-280; // below it a sum of likelihoods has lost digits, and is taken from the logarithms again

  const unzipped = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  // Float32 columns were stored as all first bytes, then all second ones, and so on.
  const fromPlanes = (bytes, start, count) => {
    const out = new Uint8Array(4 * count);
    for (let b = 0; b < 4; b++) {
      const plane = start + b * count;
      for (let i = 0; i < count; i++) out[4 * i + b] = bytes[plane + i];
    }
    return new Float32Array(out.buffer);
  };

  // -> per target {kind, n, of, c, top, logs, p}, {kind, matrix}, or a law: log-likelihoods are column by column.
  const targetsOf = (payload, buffer) => {
    if (payload.targets[0].kind === "law") return whatIfLaws.targetsOf(payload, new TextDecoder().decode(buffer));
    const k = payload.sources.length;
    let at = 0;
    const doubles = (count) => {
      const values = new Float64Array(buffer, at, count);
      at += 8 * count;
      return values;
    };
    const targets = payload.targets.map((target) =>
      target.kind === "rows"
        ? { kind: "rows", n: target.rows, of: target.of, k, c: doubles(target.rows), top: doubles(target.rows) }
        : { kind: "squared", k, matrix: doubles(k * k) },
    );
    const bytes = new Uint8Array(buffer);
    for (const target of targets) {
      if (target.kind !== "rows") continue;
      target.logs = fromPlanes(bytes, at, k * target.n);
      at += 4 * k * target.n;
      target.p = Float64Array.from(target.logs, Math.exp);
      target.total = target.c.reduce((sum, c) => sum + c, 0);
    }
    return targets;
  };

  const mixed = (target, w) => {
    const { n, k, p } = target;
    const y = new Float64Array(n);
    for (let i = 0; i < k; i++) {
      const share = w[i];
      if (share <= 0) continue;
      const start = i * n;
      for (let r = 0; r < n; r++) y[r] += share * p[start + r];
    }
    return y;
  };

  // log sum_k w_k exp(logs_k) of one row, whatever its size; -Infinity where the row is impossible.
  const logMixed = (target, w, r) => {
    const { n, k, logs } = target;
    let most = -Infinity;
    for (let i = 0; i < k; i++) if (w[i] > 0) most = Math.max(most, logs[i * n + r] + Math.log(w[i]));
    if (most === -Infinity) return most;
    let sum = 0;
    for (let i = 0; i < k; i++) if (w[i] > 0) sum += Math.exp(logs[i * n + r] + Math.log(w[i]) - most);
    return most + Math.log(sum);
  };

  // The loss of each row [n], nats.
  const rowLosses = (target, w) => {
    const out = mixed(target, w);
    for (let r = 0; r < out.length; r++) {
      const log = out[r] > TINY ? Math.log(out[r]) : logMixed(target, w, r);
      out[r] = -(log + target.top[r]);
    }
    return out;
  };

  const quadratic = (target, w) => {
    let sum = 0;
    for (let i = 0; i < target.k; i++) {
      if (w[i] === 0) continue;
      let row = 0;
      for (let j = 0; j < target.k; j++) row += target.matrix[i * target.k + j] * w[j];
      sum += w[i] * row;
    }
    return sum;
  };

  // -> {loss, rows}: rows are kept for differences between weights; squared error has none.
  const lossOf = (target, w) => {
    if (target.kind === "law") return { loss: target.mean(w), rows: null };
    if (target.kind !== "rows") return { loss: quadratic(target, w), rows: null };
    const rows = rowLosses(target, w);
    let sum = 0;
    for (let r = 0; r < rows.length; r++) sum += target.c[r] * rows[r];
    return { loss: sum / target.total, rows };
  };

  // The standard error, as an estimate for all rows, of a loss or of the difference of two; 0 where all rows are here.
  const errorOf = (target, found, other = null) => {
    if (target.kind !== "rows" || target.n >= target.of) return 0;
    const { n, c, total } = target;
    const mean = found.loss - (other ? other.loss : 0);
    let sum = 0;
    for (let r = 0; r < n; r++) {
      const residual = (c[r] * (found.rows[r] - (other ? other.rows[r] : 0) - mean) * n) / total;
      sum += residual * residual;
    }
    return Math.sqrt(((1 - n / target.of) * sum) / (n * Math.max(n - 1, 1)));
  };

  // What the loss changes by where a share h of everything goes to a source: [k].
  const changes = (target, w, h) => {
    const { n, k } = target;
    const out = new Float64Array(k);
    if (target.kind === "law") {
      const now = target.mean(w);
      return out.map((_, i) => target.mean(w.map((share, j) => (1 - h) * share + (i === j ? h : 0))) - now);
    }
    if (target.kind !== "rows") {
      const now = quadratic(target, w);
      for (let i = 0; i < k; i++) {
        let row = 0;
        for (let j = 0; j < k; j++) row += target.matrix[i * k + j] * w[j];
        out[i] = (1 - h) ** 2 * now + 2 * h * (1 - h) * row + h * h * target.matrix[i * k + i] - now;
      }
      return out;
    }
    const y = mixed(target, w);
    const far = []; // rows whose likelihood is too small: by logarithms
    for (let r = 0; r < n; r++) if (!(y[r] > TINY)) far.push([r, logMixed(target, w, r)]);
    for (const [r] of far) y[r] = Infinity; // counted below
    for (let i = 0; i < k; i++) {
      let sum = 0;
      for (let r = 0; r < n; r++) {
        if (y[r] !== Infinity) sum += target.c[r] * Math.log(1 - h + (h * target.p[i * n + r]) / y[r]);
      }
      for (const [r, log] of far) {
        const more = target.logs[i * n + r] - log;
        sum += target.c[r] * (more > 600 ? Math.log(h) + more : Math.log(1 - h + h * Math.exp(more)));
      }
      out[i] = -sum / target.total;
    }
    return out;
  };

  // base scaled by one factor, each part kept between its bounds, so that the sum is `total`; null where that cannot be.
  const scaled = (base, lower, upper, total) => {
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const least = sum(lower);
    const most = sum(upper);
    if (total < least - 1e-12 || total > most + 1e-12) return null;
    const whole = sum(base);
    const direct = base.map((b) => (b * total) / whole);
    if (whole > 0 && direct.every((v, i) => v >= lower[i] && v <= upper[i])) return direct;
    const clamped = (s) => base.map((b, i) => Math.min(Math.max(s * b, lower[i]), upper[i]));
    const room = sum(base.map((b, i) => (b > 0 ? upper[i] : lower[i])));
    if (total > room) { // those with a weight are full: the others share the rest equally
      const fixed = base.map((b, i) => (b > 0 ? upper[i] : lower[i]));
      const up = base.map((b, i) => (b > 0 ? fixed[i] : upper[i]));
      return scaled(base.map((b) => (b > 0 ? 0 : 1)), fixed, up, total);
    }
    let low = 0;
    let high = 1;
    while (sum(clamped(high)) < total && high < 1e300) high *= 2;
    for (let step = 0; step < 200 && high - low > 1e-16 * high; step++) {
      const middle = (low + high) / 2;
      if (sum(clamped(middle)) < total) low = middle;
      else high = middle;
    }
    const out = clamped(high);
    const free = out.map((v, i) => v > lower[i] && v < upper[i]);
    const inside = sum(out.filter((_, i) => free[i]));
    const factor = inside > 0 ? (total - (sum(out) - inside)) / inside : 1;
    return out.map((v, i) => (free[i] ? v * factor : v));
  };

  // Weights after source i was asked to be `wanted`: the others keep their proportions, locked ones their weights, and
  // floors and caps hold. Null where locked weights leave no choice.
  const moved = (w, i, wanted, locked, lower, upper) => {
    const others = [];
    let held = 0;
    for (let j = 0; j < w.length; j++) {
      if (j === i) continue;
      if (locked[j]) held += w[j];
      else others.push(j);
    }
    const pick = (values) => others.map((j) => values[j]);
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const [base, low, high] = [pick(w), pick(lower), pick(upper)];
    const least = Math.max(lower[i], 1 - held - sum(high));
    const most = Math.min(upper[i], 1 - held - sum(low));
    if (least > most + 1e-12) return null;
    const value = Math.min(Math.max(wanted, least), most);
    const rest = scaled(base, low, high, Math.max(1 - held - value, 0));
    if (!rest) return null;
    const out = Float64Array.from(w);
    out[i] = value;
    others.forEach((j, at) => (out[j] = rest[at]));
    return out;
  };

  // What weights do that is not allowed: [{source | label, value, limit, above}].
  const violations = (payload, w) => {
    const found = [];
    const slack = 1e-9;
    for (let i = 0; i < w.length; i++) {
      if (w[i] < payload.lower[i] - slack) found.push({ source: i, value: w[i], limit: payload.lower[i], above: false });
      if (w[i] > payload.upper[i] + slack) found.push({ source: i, value: w[i], limit: payload.upper[i], above: true });
    }
    for (const { label, index, value, limit } of payload.limits) {
      let sum = 0;
      for (let j = 0; j < index.length; j++) sum += value[j] * w[index[j]];
      if (sum > limit + slack) found.push({ label, value: Math.abs(sum), limit: Math.abs(limit), above: limit >= 0 });
    }
    if (payload.distance) {
      let sum = 0;
      for (let i = 0; i < w.length; i++) sum += Math.abs(w[i] - payload.distance.centre[i]);
      const { radius } = payload.distance;
      if (sum > radius + slack) found.push({ label: "the distance from the prior", value: sum, limit: radius, above: true, plain: true });
    }
    return found;
  };

  const plainNumber = (value) => value.toFixed(12).replace(/\.?0+$/, "");
  const PLAIN = /^[A-Za-z][A-Za-z0-9_./-]*$/;
  const WORDS = /^(y|n|yes|no|on|off|true|false|null|nan|inf)$/i;
  const ODD = /[^\x20-\x7e\u00a0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufdcf\ufdf0-\ufefe\uff00-\ufffd]/g;

  const quoted = (name) => {
    if (PLAIN.test(name) && !WORDS.test(name)) return name;
    return JSON.stringify(name).replace(ODD, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  };
  // A letter beyond the first plane is two units, and YAML wants it whole.
  const asKey = (name) =>
    quoted(name).replace(/\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})/g, (_, a, b) => {
      const point = String.fromCharCode(parseInt(a, 16), parseInt(b, 16)).codePointAt(0);
      return "\\U" + point.toString(16).padStart(8, "0");
    });

  const asYaml = (sources, w) => sources.map((name, i) => asKey(name) + ": " + plainNumber(w[i])).join("\n") + "\n";

  // The whole of a mixture.json.
  const asJson = (payload, w) =>
    JSON.stringify(
      {
        schema: 1,
        version: payload.version,
        sources: payload.sources,
        weights: [...w].map((value) => Number(plainNumber(value))),
        unit: payload.unit ?? "rows",
        method: { name: "what-if" },
        evidence: {},
        certificate: {},
        uncertainty: {},
        verdict: "unverified: set by hand on a page",
      },
      null,
      2,
    ) + "\n";

  return { unzipped, targetsOf, lossOf, errorOf, changes, moved, violations, asYaml, asJson };
})();
