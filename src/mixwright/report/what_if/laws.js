// Laws of mixtures, as src/mixwright/runs computes them: the numbers come from FittedLaw.numbers(). No document, no state.
const whatIfLaws = (() => {
  "use strict";
  const dot = (a, b) => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
    return sum;
  };
  const minus = (a, b) => Float64Array.from(a, (value, i) => value - b[i]);
  // x' M x of a symmetric matrix whose lower triangle is given row by row, and not below 0.
  const leverage = (triangle, x) => {
    let sum = 0;
    for (let i = 0, at = 0; i < x.length; i++) {
      let row = 0;
      for (let j = 0; j < i; j++) row += triangle[at++] * x[j];
      sum += x[i] * (2 * row + triangle[at++] * x[i]);
    }
    return Math.max(sum, 0);
  };
  // w R, from weights to exposures.
  const exposed = (w, R) => {
    const out = new Float64Array(R[0].length);
    for (let i = 0; i < w.length; i++) if (w[i] !== 0) for (let j = 0; j < out.length; j++) out[j] += w[i] * R[i][j];
    return out;
  };
  const log1pExp = (u) => Math.max(u, 0) + Math.log1p(Math.exp(-Math.abs(u)));

  const ridge = (law, features) => ({
    mean: (w) => law.intercept + dot(minus(features(w), law.centre), law.coefficients),
    spread: (w) =>
      Math.sqrt(law.variance * (1 + 1 / law.rows + leverage(law.covariance, minus(features(w), law.centre)))),
  });

  const logLinear = (law) => {
    const part = (w) => Math.exp(Math.min(law.a + dot(minus(w, law.centre), law.t), 50));
    return {
      mean: (w) => law.c + law.unit * part(w),
      spread: (w) => {
        const p = part(w);
        const J = [-law.below, p, ...minus(w, law.centre).map((value) => p * value)];
        return law.unit * Math.sqrt(law.error * (1 + leverage(law.inverse, J)));
      },
    };
  };

  const exposure = (law) => {
    const [rate, power, onset, harm] = law.shape;
    const off = (w) => {
      const E = exposed(w, law.R);
      const benefit = E.map((e) => -(1 - Math.exp(-((rate * e + 1e-4) ** power))));
      const features = harm ? [...benefit, ...E.map((e) => log1pExp(Math.log1p(e) - onset) ** 2)] : benefit;
      return minus(features, law.centre);
    };
    return {
      mean: (w) => law.middle + dot(off(w), law.coefficients),
      spread: (w) => Math.sqrt(law.error * (1 + leverage(law.inverse, off(w)))),
    };
  };

  const bimix = (law) => {
    const share = (w) => dot(w, law.affinities) + 0.003;
    const logs = (w) => law.level - law.power * Math.log(share(w));
    return {
      mean: (w) => Math.exp(logs(w)),
      spread: (w) => {
        const s = share(w);
        const own = s - 0.003;
        const J = [1, -law.power * Math.log(s), ...law.affinities.map((u, i) => (-law.power / s) * u * (w[i] - own))];
        const scaled = J.map((value) => value / law.unit);
        return Math.exp(logs(w)) * law.unit * Math.sqrt(law.error * (1 + leverage(law.inverse, scaled)));
      },
    };
  };

  // Matern 5/2 on the roots of the weights; the factor of the covariance is made when an interval is first wanted.
  const gaussianProcess = (law, runs) => {
    const { n, d, roots } = runs;
    const scaled = Float64Array.from(roots, (value, at) => value / law.scale[at % d]);
    const kernel = (x) => {
      const out = new Float64Array(n);
      for (let i = 0, at = 0; i < n; i++) {
        let sum = 0;
        for (let j = 0; j < d; j++, at++) sum += (x[j] - scaled[at]) ** 2;
        const r = Math.sqrt(5 * sum);
        out[i] = law.size * (1 + r + (r * r) / 3) * Math.exp(-r);
      }
      return out;
    };
    const at = (w) => Float64Array.from(w, (value, j) => rootOf(value) / law.scale[j]);
    let rows = null; // of the Cholesky factor
    const factor = () => {
      rows = [];
      for (let i = 0; i < n; i++) {
        const row = kernel(scaled.subarray(i * d, (i + 1) * d)).subarray(0, i + 1);
        row[i] += law.noise + law.jitter;
        for (let j = 0; j <= i; j++) {
          const other = j < i ? rows[j] : row;
          let sum = row[j];
          for (let l = 0; l < j; l++) sum -= row[l] * other[l];
          row[j] = j < i ? sum / other[j] : Math.sqrt(sum);
        }
        rows.push(row);
      }
    };
    const explained = (k) => {
      if (!rows) factor();
      const v = new Float64Array(n);
      for (let i = 0; i < n; i++) {
        let sum = k[i];
        for (let j = 0; j < i; j++) sum -= rows[i][j] * v[j];
        v[i] = sum / rows[i][i];
      }
      return dot(v, v);
    };
    return {
      mean: (w) => law.middle + law.unit * dot(kernel(at(w)), law.alpha),
      spread: (w) => law.unit * Math.sqrt(Math.max(law.size + law.noise - explained(kernel(at(w))), 0)),
    };
  };

  const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const ensemble = (law, runs) => {
    const members = law.members.map((member) => lawOf(member, runs));
    return {
      mean: (w) => average(members.map((member) => member.mean(w))),
      spread: (w) => {
        const means = members.map((member) => member.mean(w));
        const middle = average(means);
        const apart = average(means.map((value) => (value - middle) ** 2));
        return Math.hypot(average(members.map((member) => member.spread(w))), Math.sqrt(apart));
      },
    };
  };

  const forms = {
    linear: (law) => ridge(law, (w) => w),
    log_exposure: (law) => ridge(law, (w) => exposed(w, law.R).map(Math.log1p)),
    log_linear: logLinear,
    exposure,
    bimix,
    gaussian_process: gaussianProcess,
    ensemble,
  };
  const lawOf = (law, runs) => forms[law.form](law, runs);
  const rootOf = (value) => Math.sqrt(Math.max(value, 0) + 0.02 ** 2);

  // The nearest mixture in the hull of the runs, by the steps that runs/optimum/hull.py takes.
  const nearest = (w, runs) => {
    const { n, d, W, step } = runs;
    let S = new Float64Array(n);
    let best = Infinity;
    let first = 0;
    for (let i = 0; i < n; i++) {
      let far = 0;
      for (let j = 0; j < d; j++) far += (W[i * d + j] - w[j]) ** 2;
      if (far < best) [best, first] = [far, i];
    }
    S[first] = 1;
    const mixed = (shares) => {
      const out = new Float64Array(d);
      for (let i = 0; i < n; i++) if (shares[i] !== 0) for (let j = 0; j < d; j++) out[j] += shares[i] * W[i * d + j];
      return out;
    };
    let ahead = S;
    let t = 1;
    for (let round = 0; round < 300; round++) {
      const off = minus(mixed(ahead), w);
      const V = new Float64Array(n);
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let j = 0; j < d; j++) sum += off[j] * W[i * d + j];
        V[i] = ahead[i] - step * sum;
      }
      const ordered = V.slice().sort().reverse();
      let total = 0;
      let over = 0;
      for (let i = 0; i < n; i++) {
        total += ordered[i];
        if (ordered[i] > (total - 1) / (i + 1)) over = (total - 1) / (i + 1);
      }
      const next = V.map((value) => Math.max(value - over, 0));
      const later = (1 + Math.sqrt(1 + 4 * t * t)) / 2;
      ahead = next.map((value, i) => value + ((t - 1) / later) * (value - S[i]));
      [S, t] = [next, later];
    }
    return mixed(S);
  };

  // What counts of several targets: their sum by shares, or the worst regret.
  const goalOf = ({ shares, best }) => (values) =>
    best ? Math.max(...values.map((value, j) => (shares[j] > 0 ? value - best[j] : -Infinity))) : dot(values, shares);
  const boundOf = ({ shares, best }) => (values) =>
    best ? Math.max(...values.map((value, j) => (shares[j] > 0 ? value : -Infinity))) : dot(values, shares);

  // -> per target {kind, k, mean(w), interval(w, near)}, and `near`: what counts comes first where there are several.
  const targetsOf = (payload, text) => {
    const data = JSON.parse(text);
    const [n, d] = [data.W.length, data.W[0].length];
    const W = Float64Array.from(data.W.flat());
    const runs = { n, d, W, step: data.step, roots: W.map(rootOf) };
    const laws = data.laws.map((law) => lawOf(law, runs));
    const near = (w) => {
      const found = nearest(w, runs);
      const off = minus(found, w).reduce((sum, value) => sum + Math.abs(value), 0) / 2;
      return off > data.inside ? found : null;
    };
    return data.targets.map(({ shares, best, low, high }) => {
      const [goal, bound] = [goalOf({ shares, best }), boundOf({ shares, best })];
      const used = shares.flatMap((share, j) => (share > 0 ? [j] : []));
      const each = (what, w) => shares.map((_, j) => (used.includes(j) ? laws[j][what](w) : 0));
      const mean = (w) => goal(each("mean", w));
      const interval = (w, from) => {
        const [middle, spread] = [mean(w), bound(each("spread", w))];
        const further = from ? Math.max(mean(from) - middle, 0) : 0;
        return [middle + low[0] * spread - low[1], middle + high * spread + further];
      };
      return { kind: "law", k: d, mean, interval, near };
    });
  };

  return { targetsOf };
})();
