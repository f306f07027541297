// Live calls: server-sent events while the page is seen. A hidden page costs neither the server nor the browser anything.

const DRAW_EVERY = 150;

/**
 * Follow the calls until the returned function is called.
 * `calls` takes new calls, the oldest first; `missed` loads those that came before the stream began, or while the page was hidden;
 * `leftOut` takes how many were not sent; `refused` is called when the server sends no more.
 */
export function follow(url, { calls, missed, leftOut, refused }) {
  let source = null;
  let waiting = [];
  let isHeld = false;

  const draw = () => !isHeld && waiting.length && calls(waiting.splice(0));
  const open = () => {
    source = new EventSource(url);
    // The stream begins at a call, so what `missed` finds now and what the stream sends have no gap. What arrives meanwhile waits.
    isHeld = true;
    source.addEventListener("open", () => missed().then(() => ((isHeld = false), draw())), { once: true });
    source.addEventListener("message", (event) => {
      waiting.push(JSON.parse(event.data));
      // Many calls at once are drawn once.
      if (waiting.length === 1) setTimeout(draw, DRAW_EVERY);
    });
    source.addEventListener("left-out", (event) => leftOut(event.data));
    source.addEventListener("error", () => source?.readyState === EventSource.CLOSED && (close(), refused()));
  };
  const end = () => {
    source?.close();
    source = null;
    waiting = [];
  };
  const see = () => (document.hidden ? end() : source || open());
  const close = () => {
    document.removeEventListener("visibilitychange", see);
    end();
  };
  document.addEventListener("visibilitychange", see);
  open();
  return close;
}
