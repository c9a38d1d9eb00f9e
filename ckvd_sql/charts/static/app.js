"use strict";
// The page of `ckvd view`: pickers, the chart, and what the cache holds. It asks its own server alone.

const element = (id) => document.getElementById(id);
const chart = new CkvdChart(element("chart"));
const LIVE_EVERY = 5000;
let generation = 0;

async function ask(path, parameters) {
  const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
  const found = await answer.json();
  if (found.error) throw new Error(found.error);
  return found;
}

function make(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(...parts) {
  element("status").replaceChildren(...parts);
}

function chosen() {
  const custom = element("range").value === "";
  return {
    symbol: element("symbol").value, market: element("market").value, interval: element("interval").value,
    start: custom ? element("start").value : element("range").value, end: custom ? element("end").value : "",
  };
}

function describe(query, bars) {
  const last = bars.close[bars.close.length - 1];
  const span = [bars.time[0], bars.time[bars.time.length - 1]].map((time) => new Date(time * 1000).toISOString().slice(0, 16));
  const parts = [make("b", `${bars.symbol} ${bars.interval} (${bars.market})`), make("span", `${bars.time.length.toLocaleString("en")} bars`)];
  if (bars.time.length) parts.push(make("span", `${span[0].replace("T", " ")} to ${span[1].replace("T", " ")} UTC`), make("span", `last ${last}`));
  const missing = bars.missing.length;
  if (missing) {
    const count = missing === 1 ? "1 bar is" : `${missing.toLocaleString("en")} bars are`;
    parts.push(make("span", `${count} missing at the exchange (marked)`));
  }
  say(...parts);
}

async function load() {
  const own = ++generation;
  document.querySelectorAll(".dates").forEach((label) => { label.hidden = element("range").value !== ""; });
  const query = chosen();
  say(make("span", "fetching…"));
  try {
    const bars = await ask("api/bars", query);
    if (own !== generation) return;
    chart.show(bars);
    describe(query, bars);
    element("chart").dataset.bars = bars.time.length;
    element("chart").dataset.missing = bars.missing.length;
    history.replaceState(null, "", `?${new URLSearchParams(query)}`);
    if (query.end === "") setTimeout(() => live(own, query), LIVE_EVERY);
    showCache();
  } catch (error) {
    if (own === generation) say(make("span", error.message, "error"));
  }
}

async function live(own, query) {
  if (own !== generation) return;
  if (!document.hidden) {
    try {
      const bars = await ask("api/latest", query);
      if (own !== generation) return;
      chart.update(bars);
    } catch (error) {
      say(make("span", error.message, "error"));
    }
  }
  setTimeout(() => live(own, query), LIVE_EVERY);
}

async function showCache() {
  const { series } = await ask("api/cache", {});
  const head = make("tr");
  for (const name of ["market", "symbol", "interval", "days", "first", "last", "months"]) head.append(make("th", name));
  const rows = series.map((one) => {
    const row = make("tr");
    for (const name of ["market", "symbol", "interval", "days", "first", "last"]) row.append(make("td", one[name].toLocaleString("en")));
    const months = make("div", undefined, "months");
    for (const month of one.months) {
      const cell = make("button", undefined, `month ${month.source}${month.doubts ? " doubt" : ""}`);
      cell.type = "button";
      cell.style.setProperty("--share", month.days / month.of);
      const doubts = month.doubts ? `, ${month.doubts} days in doubt` : "";
      cell.title = `${month.month}: ${month.days} of ${month.of} days, ${month.source}${doubts}`;
      cell.setAttribute("aria-label", `${one.symbol} ${one.interval} ${cell.title}`);
      if (month.days) cell.addEventListener("click", () => showDays(one, month.month, cell));
      months.append(cell);
    }
    const last = make("td");
    last.append(months);
    row.append(last);
    return row;
  });
  if (!rows.length) {
    const empty = make("tr");
    empty.append(make("td", "Nothing is cached yet. What is charted above, or fetched by `ckvd fetch`, appears here."));
    element("cache").replaceChildren(empty);
    return;
  }
  element("cache").replaceChildren(head, ...rows);
}

async function showDays(one, month, cell) {
  document.querySelectorAll(".month").forEach((other) => other.setAttribute("aria-pressed", String(other === cell)));
  const { days } = await ask("api/days", { market: one.market, symbol: one.symbol, interval: one.interval, month });
  const head = make("tr");
  const names = ["date", "rows", "source", "checksum", "gaps", "doubts"];
  for (const name of names) head.append(make("th", name));
  const rows = days.map((day) => {
    const row = make("tr");
    for (const name of names) row.append(make("td", day[name] === null ? "" : String(day[name])));
    return row;
  });
  element("month").hidden = false;
  element("month").querySelector("h2").textContent = `${one.symbol} ${one.interval} (${one.market}), ${month}`;
  element("days").replaceChildren(head, ...rows);
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  chart.theme(!dark);
}

async function begin() {
  const start = await ask("api/start", {});
  for (const name of start.intervals) element("interval").append(make("option", name));
  for (const name of start.symbols) element("symbols").append(Object.assign(make("option"), { value: name }));
  const given = new URLSearchParams(location.search);
  element("symbol").value = given.get("symbol") || start.symbol;
  element("market").value = given.get("market") || start.market;
  element("interval").value = given.get("interval") || start.interval;
  const range = given.get("start") ?? "-3mo";
  const known = [...element("range").options].some((option) => option.value === range) && !given.get("end");
  element("range").value = known ? range : "";
  element("start").value = known ? "" : range;
  element("end").value = given.get("end") || "";
  for (const id of ["symbol", "market", "interval", "range", "start", "end"]) element(id).addEventListener("change", load);
  element("theme").addEventListener("click", toggleTheme);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => chart.theme(event.matches));
  await load();
}

begin().catch((error) => say(make("span", error.message, "error")));
