"use strict";
// Candles and volume in an element, by TradingView's Lightweight Charts; used by the page of `ckvd view` and in notebooks.

class CkvdChart {
  constructor(element) {
    this.dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    this.chart = LightweightCharts.createChart(element, {
      autoSize: true,
      layout: { attributionLogo: true },
      timeScale: { timeVisible: true, secondsVisible: false },
      localization: { locale: "en-GB" },
    });
    const quiet = { priceLineVisible: false, lastValueVisible: false, priceScaleId: "" };
    this.gaps = this.chart.addSeries(LightweightCharts.HistogramSeries, { ...quiet, priceScaleId: "gaps" });
    this.chart.priceScale("gaps").applyOptions({ scaleMargins: { top: 0, bottom: 0 }, visible: false });
    this.candles = this.chart.addSeries(LightweightCharts.CandlestickSeries, { borderVisible: false });
    this.volume = this.chart.addSeries(LightweightCharts.HistogramSeries, { ...quiet, priceFormat: { type: "volume" } });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.theme(this.dark);
  }

  theme(dark) {
    this.dark = dark;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.up = colour("--up");
    this.down = colour("--down");
    this.gap = colour("--gap");
    this.chart.applyOptions({
      layout: { background: { color: colour("--panel") }, textColor: colour("--text"), fontFamily: "system-ui, sans-serif" },
      grid: { vertLines: { color: colour("--line") }, horzLines: { color: colour("--line") } },
      rightPriceScale: { borderColor: colour("--line") },
      timeScale: { borderColor: colour("--line") },
    });
    this.candles.applyOptions({
      upColor: this.up, downColor: this.down, wickUpColor: this.up, wickDownColor: this.down,
    });
    if (this.shown) this.show(this.shown, false);
  }

  show(bars, fit = true) {
    this.shown = bars;
    const missing = new Set(bars.missing);
    const times = [...bars.time, ...missing].sort((one, other) => one - other);
    const at = new Map(bars.time.map((time, index) => [time, index]));
    const digits = CkvdChart.digits(bars.close);
    this.candles.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
    this.candles.setData(times.map((time) => {
      const index = at.get(time);
      return index === undefined ? { time } : {
        time, open: bars.open[index], high: bars.high[index], low: bars.low[index], close: bars.close[index],
      };
    }));
    this.volume.setData(bars.volume.map((value, index) => ({
      time: bars.time[index], value, color: this.faded(bars.close[index] >= bars.open[index]),
    })));
    this.gaps.setData([...missing].sort((one, other) => one - other).map((time) => ({ time, value: 1, color: this.gap })));
    if (fit) this.chart.timeScale().fitContent();
  }

  update(bars) {
    for (let index = 0; index < bars.time.length; index += 1) {
      const time = bars.time[index];
      if (this.shown && time < this.shown.time[this.shown.time.length - 1]) continue;
      const bar = { time, open: bars.open[index], high: bars.high[index], low: bars.low[index], close: bars.close[index] };
      this.candles.update(bar);
      this.volume.update({ time, value: bars.volume[index], color: this.faded(bar.close >= bar.open) });
      const last = this.shown.time.length - (this.shown.time[this.shown.time.length - 1] === time ? 1 : 0);
      for (const name of ["time", "open", "high", "low", "close", "volume"]) this.shown[name][last] = bars[name][index];
    }
  }

  faded(rising) {
    return (rising ? this.up : this.down) + "55";
  }

  static digits(prices) {
    const price = prices.length ? Math.abs(prices[prices.length - 1]) : 1;
    return price >= 100 ? 2 : price >= 1 ? 4 : Math.min(10, 4 - Math.floor(Math.log10(price || 1)));
  }
}
