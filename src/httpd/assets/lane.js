/*
 * What happened to a group, under the charts and on their time axis: a lane
 * each for what was done, what was held back, and what operators did.  The
 * list of the same events is below it on the page; this only draws.
 */
import { axisWidth } from "./chart.js";
import { h } from "./elements.js";

const uPlot = window.uPlot;
const lanes = ["operator", "held back", "done"];

function ink(name)
{
	return getComputedStyle(document.documentElement)
		.getPropertyValue(`--${name}`).trim();
}

function lane(entry)
{
	if (entry.kind === "operator")
		return 0;
	if (entry.kind === "activity")
		return 2;
	return entry.status === "held back" ? 1 : null;
}

export class Lane
{
	constructor({ sync, onmoment })
	{
		this.sync = sync;
		this.onmoment = onmoment;
		this.entries = [];
		this.canvas = h("div", { class: "canvas lanes" });
		this.element = h("div", { "aria-hidden": "true" }, this.canvas);
		this.observer = new ResizeObserver(() => this.resize());
		this.observer.observe(this.canvas);
	}

	set(entries, range)
	{
		this.entries = entries.filter(entry => lane(entry) !== null)
			.map(entry => ({ ...entry, seconds: new Date(entry.at) / 1000 }))
			.sort((a, b) => a.seconds - b.seconds);
		this.range = range;
		const data = [this.entries.map(entry => entry.seconds),
			this.entries.map(lane)];

		if (this.u === undefined)
			this.draw(data);
		else
			this.u.setData(data);
	}

	draw(data)
	{
		const text = ink("soft"), grid = ink("grid");

		this.u?.destroy();
		this.u = new uPlot({
			width: Math.max(this.canvas.clientWidth, 200),
			height: 84,
			legend: { show: false },
			cursor: { sync: { key: this.sync, setSeries: false },
				drag: { x: false, y: false }, points: { show: false } },
			scales: { x: { time: true, range: () => this.range },
				y: { range: () => [-0.6, 2.6] } },
			axes: [{ show: false },
				{ stroke: text, size: axisWidth, gap: 12, splits: () => [0, 1, 2],
					values: () => lanes, grid: { stroke: grid, width: 1 },
					ticks: { show: false }, font: "11px system-ui, sans-serif" }],
			series: [{}, { paths: () => null, points: { show: false } }],
			padding: [4, 18, 4, 0],
			hooks: { draw: [u => this.marks(u)],
				ready: [u => u.over.addEventListener("click", () => {
					if (u.cursor.idx !== null)
						this.onmoment?.(data[0][u.cursor.idx]);
				})] },
		}, data, this.canvas);
	}

	marks(u)
	{
		const size = 5 * devicePixelRatio;

		u.ctx.save();
		for (const entry of this.entries)
		{
			const x = u.valToPos(entry.seconds, "x", true);
			const y = u.valToPos(lane(entry), "y", true);
			const failed = entry.status === "failed" || entry.status === "unknown";

			if (x < u.bbox.left || x > u.bbox.left + u.bbox.width)
				continue;
			u.ctx.beginPath();
			if (lane(entry) === 2)
			{
				const way = entry.action === "scale_up" ? -1 : 1;

				u.ctx.moveTo(x, y + way * size);
				u.ctx.lineTo(x - size, y - way * size);
				u.ctx.lineTo(x + size, y - way * size);
				u.ctx.closePath();
			}
			else if (lane(entry) === 1)
				u.ctx.rect(x - 1.5 * devicePixelRatio, y - size,
					3 * devicePixelRatio, 2 * size);
			else
				u.ctx.arc(x, y, size, 0, 2 * Math.PI);
			u.ctx.fillStyle = u.ctx.strokeStyle = ink(failed ? "bad"
				: lane(entry) === 2 ? (entry.action === "scale_up" ? "c-load" : "c-usable")
					: lane(entry) === 1 ? "c-held" : "c-operator");
			u.ctx.lineWidth = 1.5 * devicePixelRatio;
			if (entry.status === "dry_run")
				u.ctx.stroke();		/* hollow: nothing was changed */
			else
				u.ctx.fill();
		}
		u.ctx.restore();
	}

	restyle()
	{
		if (this.u !== undefined)
			this.draw(this.u.data);
	}

	resize()
	{
		const width = this.canvas.clientWidth;

		if (this.u !== undefined && width > 0 && width !== this.u.width)
			this.u.setSize({ width, height: 84 });
	}

	close()
	{
		this.observer.disconnect();
		this.u?.destroy();
	}
}
