/*
 * A chart over time: lines and steps by uPlot, and for those who do not see
 * them the same numbers as a table, as CSV, and read out point by point with
 * the arrow keys.
 */
import { fill, h, table } from "./elements.js";
import { clock, number } from "./words.js";

const uPlot = window.uPlot;

function colour(name)
{
	return getComputedStyle(document.documentElement)
		.getPropertyValue(`--${name}`).trim();
}

/* the same under all charts, whose times shall stand one below the other */
export const axisWidth = 66;

/*
 * lines: [{ title, colour, dash, width, step, fill, digits }].  Of the first
 * "fit" lines all is seen; others, such as a limit far above, may be cut off.
 * onmoment is told the time that was chosen by a click or Enter.
 */
export class Chart
{
	constructor({ title, unit, lines, bands = [], height = 220, onmoment,
		fit = lines.length, whole = false, sync })
	{
		Object.assign(this, { title, unit, lines, bands, height, onmoment,
			fit, whole, sync });
		this.data = [[], ...lines.map(() => [])];
		this.range = null;
		this.at = null;			/* index that the cursor is at */
		this.canvas = h("div", { class: "canvas" });
		this.spoken = h("p", { class: "hidden", "aria-live": "polite" });
		this.legend = h("dl", { class: "legend" });
		this.numbers = h("div", { hidden: true, class: "numbers" });
		this.toggle = h("button", { type: "button", class: "quiet",
			"aria-expanded": "false", "data-key": `table ${title}`,
			onclick: () => this.showTable() }, "Table");
		this.plot = h("div", { class: "plot", tabindex: 0, role: "group",
			"aria-roledescription": "chart",
			"data-key": `chart ${title}`,
			onkeydown: event => this.key(event) }, this.canvas);
		this.element = h("section", { class: "chart" },
			h("header", {}, h("h2", {}, title), h("span", { class: "unit" }, unit),
				this.toggle,
				h("button", { type: "button", class: "quiet",
					"data-key": `csv ${title}`,
					onclick: () => this.download() }, "CSV")),
			this.legend, this.plot, this.numbers, this.spoken);
		this.element.chart = this;
		this.observer = new ResizeObserver(() => this.resize());
		this.observer.observe(this.canvas);
	}

	options()
	{
		const text = colour("soft"), grid = colour("grid");
		const axis = { stroke: text, grid: { stroke: grid, width: 1 },
			ticks: { stroke: grid, width: 1 },
			font: "12px system-ui, sans-serif" };

		return {
			width: Math.max(this.canvas.clientWidth, 200),
			height: this.height,
			legend: { show: false },
			padding: [10, 18, 0, 0],
			cursor: { sync: { key: this.sync, setSeries: false },
				drag: { x: false, y: false },
				points: { size: 7 } },
			scales: {
				x: { time: true, range: () => this.range },
				y: { range: () => [0, this.top()] },
			},
			axes: [
				{ ...axis, space: 90, values: (u, splits) => this.times(splits) },
				{ ...axis, size: axisWidth,
					incrs: this.whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000,
						2000, 5000, 10000, 100000] : undefined,
					values: (u, splits) => splits.map(v => number(v)) },
			],
			series: [{}, ...this.lines.map(line => ({
				label: line.title,
				stroke: line.width === 0 ? undefined : colour(line.colour),
				width: line.width ?? 2,
				dash: line.dash,
				fill: line.fill ? colour(line.fill) : undefined,
				points: { show: false },
				spanGaps: false,
				paths: line.step ? uPlot.paths.stepped({ align: 1 }) : undefined,
			}))],
			bands: this.bands.map(band =>
				({ series: band.series, fill: colour(band.fill) })),
			hooks: {
				setCursor: [u => this.moved(u.cursor.idx)],
				draw: [u => this.drawMoment(u)],
				ready: [u => u.over.addEventListener("click", () =>
					this.choose(u.cursor.idx))],
			},
		};
	}

	top()
	{
		const most = lines => Math.max(1, ...lines.flat()
			.filter(value => value !== null && value !== undefined));
		const seen = most(this.data.slice(1, 1 + this.fit));
		const all = most(this.data.slice(1));

		return 1.1 * (all <= 2.5 * seen ? all : 1.15 * seen);
	}

	/* Labels of the time axis: the day too where there are several. */
	times(splits)
	{
		const days = this.range[1] - this.range[0] > 20 * 3600;
		const seconds = splits.length > 1 && splits[1] - splits[0] < 60;

		return splits.map(split => {
			const text = clock(split * 1000, new Date(split * 1000));
			const day = new Date(split * 1000);

			if (days && day.getHours() === 0 && day.getMinutes() === 0)
				return day.toLocaleDateString("en", { month: "short", day: "numeric" });
			return seconds ? text : text.slice(0, 5);
		});
	}

	/* A line at the moment that the page explains, and one at the present. */
	drawMoment(u)
	{
		for (const [when, ink] of [[this.moment, "ink"], [this.present, "soft"]])
		{
			if (when === null || when === undefined
				|| when < this.range[0] || when >= this.range[1])
				continue;
			const x = Math.round(u.valToPos(when, "x", true)) + 0.5;

			u.ctx.save();
			u.ctx.strokeStyle = colour(ink);
			u.ctx.setLineDash([2, 3]);
			u.ctx.beginPath();
			u.ctx.moveTo(x, u.bbox.top);
			u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
			u.ctx.stroke();
			u.ctx.restore();
		}
	}

	/* data: times in seconds, then the values of each line. */
	set(data, range, { moment = null, present = null } = {})
	{
		this.data = data;
		this.range = range;
		this.moment = moment;
		this.present = present;
		if (this.u === undefined)
			this.draw();
		else
			this.u.setData(data);
		if (!this.numbers.hidden)
			this.fillTable();
		this.moved(this.u.cursor.idx);
		this.plot.setAttribute("aria-label", this.label());
	}

	draw()
	{
		this.u?.destroy();
		this.u = new uPlot(this.options(), this.data, this.canvas);
		this.element.u = this.u;
	}

	restyle()
	{
		if (this.u !== undefined)
			this.draw();
	}

	resize()
	{
		const width = this.canvas.clientWidth;

		if (this.u !== undefined && width > 0 && width !== this.u.width)
			this.u.setSize({ width, height: this.height });
	}

	label()
	{
		const [at] = this.data;

		if (at.length === 0)
			return `${this.title}: nothing was recorded in this period.`;
		return `${this.title} in ${this.unit}, ${at.length} points from `
			+ `${clock(at[0] * 1000)} to ${clock(at[at.length - 1] * 1000)}. `
			+ "Arrow keys move the cursor"
			+ (this.onmoment ? ", Enter explains the moment." : ".");
	}

	valueAt(line, i)
	{
		return number(this.data[line + 1][i], this.lines[line].digits ?? 1);
	}

	/* The legend shows what the cursor is at, and else the newest. */
	moved(i)
	{
		const known = i !== null && i !== undefined && i < this.data[0].length;
		const shown = known ? i : this.data[0].length - 1;

		this.at = known ? i : null;
		fill(this.legend,
			h("div", { class: "when" }, h("dt", {}, known ? "at" : "newest"),
				h("dd", {}, shown < 0 ? "–" : clock(this.data[0][shown] * 1000))),
			this.lines.map((line, nr) => h("div", {},
				h("dt", {}, h("span", { class: `key ${line.key}` }), line.title),
				h("dd", {}, shown < 0 ? "–" : this.valueAt(nr, shown)))));
	}

	key(event)
	{
		const last = this.data[0].length - 1;
		const now = this.at ?? last;
		const wide = Math.max(1, Math.round(last / 20));
		const goal = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0,
			End: last, PageUp: now - wide, PageDown: now + wide }[event.key];

		if (last < 0 || event.ctrlKey || event.altKey || event.metaKey)
			return;
		if (event.key === "Enter")
			this.choose(now);
		else if (event.key === "Escape")
			this.u.setCursor({ left: -10, top: -10 });
		else if (goal === undefined)
			return;
		else
			this.point(Math.min(Math.max(
				this.at === null && event.key === "ArrowLeft" ? last : goal, 0), last));
		event.preventDefault();
	}

	point(i)
	{
		this.u.setCursor({ left: this.u.valToPos(this.data[0][i], "x"),
			top: this.u.over.clientHeight / 2 });
		/* two points may share a pixel */
		this.moved(i);
		this.spoken.textContent = `${clock(this.data[0][i] * 1000)}: `
			+ this.lines.map((line, nr) =>
				`${line.title} ${this.valueAt(nr, i)}`).join(", ");
	}

	choose(i)
	{
		if (i !== null && i !== undefined && i < this.data[0].length)
			this.onmoment?.(this.data[0][i]);
	}

	showTable()
	{
		this.numbers.hidden = !this.numbers.hidden;
		this.toggle.setAttribute("aria-expanded", String(!this.numbers.hidden));
		if (!this.numbers.hidden)
			this.fillTable();
	}

	fillTable()
	{
		fill(this.numbers, table(`${this.title}, as a table`,
			[["Time", ""], ...this.lines.map(line => [line.title, "number"])],
			this.data[0].map((at, i) => [clock(at * 1000),
				...this.lines.map((line, nr) => this.valueAt(nr, i))])));
	}

	/* Exact numbers; a title holds neither quotes nor commas. */
	csv()
	{
		const head = ["time", ...this.lines.map(line => line.title)];
		const rows = this.data[0].map((at, i) =>
			[new Date(at * 1000).toISOString(),
				...this.lines.map((line, nr) => this.data[nr + 1][i] ?? "")]);

		return [head, ...rows].map(row => row.join(",")).join("\r\n") + "\r\n";
	}

	download()
	{
		const url = URL.createObjectURL(new Blob([this.csv()],
			{ type: "text/csv" }));

		h("a", { href: url, download:
			`${this.title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}.csv` }).click();
		setTimeout(() => URL.revokeObjectURL(url), 1000);
	}

	close()
	{
		this.observer.disconnect();
		this.u?.destroy();
	}
}
