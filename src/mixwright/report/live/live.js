(() => {
  "use strict";
  // A page of a run that goes: it is read again after some seconds, at the place where the reader is.
  const words = document.getElementById("written");
  const key = "mixwright " + location.pathname;
  const written = 1000 * Number(words.dataset.written);
  const every = 1000 * Number(words.dataset.every);
  const begun = words.textContent.split(";")[0];
  const parts = () => [...document.querySelectorAll("details")];
  const boxes = () => [...document.querySelectorAll(".box.tall")];

  const keep = () => {
    const open = parts().map((part) => part.open);
    const inner = boxes().map((box) => [box.scrollLeft, box.scrollTop]);
    try {
      sessionStorage.setItem(key, JSON.stringify({ at: [scrollX, scrollY], open, inner }));
    } catch (error) {
      return; // a browser that keeps nothing goes to the top
    }
  };
  const restore = () => {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(key));
    } catch (error) {
      return;
    }
    if (!kept) return;
    parts().forEach((part, i) => { part.open = Boolean(kept.open[i]); });
    boxes().forEach((box, i) => { if (kept.inner[i]) box.scrollTo(...kept.inner[i]); });
    window.scrollTo(...kept.at);
  };
  const said = (seconds) =>
    seconds < 90 ? Math.round(seconds) + " s" : seconds < 5400 ? Math.round(seconds / 60) + " min" : Math.round(seconds / 3600) + " h";

  const tell = () => {
    const age = Math.max(Date.now() - written, 0);
    const silent = age > 5 * every + 60000;
    words.textContent = begun + ", " + said(age / 1000) + " ago" + (silent
      ? ". Nothing came since: the run is in a long step, or it was ended from outside (mixwright watch RUN says which)."
      : "; this page shows the next one by itself.");
    return silent;
  };
  let waited = 0;
  const tick = () => {
    const silent = tell();
    waited += 1000;
    const busy = document.hidden || !getSelection().isCollapsed; // the reader copies something, or is elsewhere
    if (busy || waited < (silent ? Math.max(every, 30000) : every)) return;
    keep();
    location.reload();
  };

  history.scrollRestoration = "manual";
  restore();
  tell();
  document.addEventListener("visibilitychange", () => document.hidden || tick());
  window.addEventListener("pagehide", keep);
  setInterval(tick, 1000);
  document.documentElement.dataset.live = "on";
})();
