// EventSource: follow a generation to its end; it reconnects by itself until told to stop.
import { EventSource } from "eventsource";

const headers = { Authorization: `Bearer ${process.env.EASEL_KEY}` };

await step("ends_by_itself", async () => {
  const answer = await fetch(`${process.env.EASEL_URL}/generations`, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify({ mode: "free", prompt: "a lake", width: 256, height: 256 }),
  });
  const { id } = await answer.json();
  const seen = { results: [], statuses: [] };
  const source = new EventSource(`${process.env.EASEL_URL}/generations/${id}/events`, {
    fetch: async (url, init) => {
      const got = await fetch(url, { ...init, headers: { ...init.headers, ...headers } });
      seen.statuses.push(got.status);
      return got;
    },
  });
  source.addEventListener("result", (event) => seen.results.push(JSON.parse(event.data).status));
  const alive = setInterval(() => {}, 1000); // a pause before a reconnect does not keep Node running
  await new Promise((resolve) => {
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED || seen.statuses.length > 3) resolve();
    });
  });
  clearInterval(alive);
  seen.closed = source.readyState === EventSource.CLOSED;
  source.close();
  return seen;
});
