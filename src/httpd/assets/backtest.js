/*
 * The recorded load of a group played again, by its policy or another one and
 * by those of others.  Asked for by hand: it takes a moment of the database.
 */
import { post } from "./api.js";
import { Chart } from "./chart.js";
import { fill, h, table } from "./elements.js";
import { clock, number, unit } from "./words.js";

const words = {
	policy: "this policy",
	reactive: "without prediction",
	predictive: "with prediction",
	first_original: "first original's rule",
	hpa_v2: "Kubernetes' HPA",
	aws_target_tracking: "AWS' target tracking",
	knative_kpa: "Knative's autoscaler",
	static_best: "best fixed number",
	oracle: "who knows the future",
};

export class Backtest
{
	constructor(id, unauthorized)
	{
		this.id = id;
		this.unauthorized = unauthorized;
		this.button = h("button", { type: "submit", "data-key": "play" }, "Play");
		this.said = h("div", { "aria-live": "polite" });
		this.result = h("div", {});
		const field = (name, word, attributes) => h("label", {}, word,
			h("input", { type: "number", name, step: "any", inputmode: "decimal",
				placeholder: "as it is", ...attributes }));

		this.form = h("form", { onsubmit: event => {
			event.preventDefault();
			this.play();
		} },
		h("div", { class: "fields" },
			h("label", {}, "Prediction", h("select", { name: "prediction_mode" },
				h("option", { value: "" }, "as it is"),
				h("option", { value: "off" }, "off"),
				h("option", { value: "enabled" }, "enabled"))),
			field("target_violation", "Too little, % of time", { min: "0.05", max: "20" }),
			field("max_instances", "Maximum", { min: "0", step: "1" }),
			h("label", {}, "Load of", h("select", { name: "days" },
				h("option", { value: "14" }, "14 days"),
				h("option", { value: "7" }, "7 days"),
				h("option", { value: "1" }, "a day")))),
		h("div", { class: "buttons" }, this.button));
		this.element = h("section", { class: "panel", "aria-label": "Backtest" },
			h("h2", {}, "Backtest"),
			h("p", { class: "faint" }, "What this policy would have made of the recorded load, with these values, beside what others would have. Nothing is changed."),
			this.form, this.said, this.result);
	}

	overrides()
	{
		const form = new FormData(this.form);
		const overrides = {};

		for (const name of ["target_violation", "max_instances"])
			if (form.get(name) !== "")
				overrides[name] = Number(form.get(name));
		if (overrides.target_violation !== undefined)
			overrides.target_violation /= 100;
		if (form.get("prediction_mode") !== "")
			overrides.prediction_mode = form.get("prediction_mode");
		return overrides;
	}

	async play()
	{
		this.button.disabled = true;
		fill(this.said, h("p", { class: "empty" }, "Playing …"));
		try
		{
			const answer = await post("/groups/backtest", { resource_id: this.id,
				overrides: this.overrides(),
				days: Number(new FormData(this.form).get("days")) });

			fill(this.said, h("p", {}, this.summary(answer)));
			this.show(answer);
		}
		catch (error)
		{
			if (error.status === 401)
				this.unauthorized(error);
			fill(this.said, h("p", { class: "notice bad" }, error.message,
				error.hint ? h("small", {}, ` ${error.hint}`) : null));
		}
		this.button.disabled = false;
	}

	summary({ policies, ticks, missing, step_seconds: step, scored_from: from })
	{
		const own = policies.find(row => row.policy === "policy");

		return `Load above capacity ${number(own.violation_time, 2)} % of the time, `
			+ `${number(own.instance_hours)} instance hours, `
			+ `${number(own.cost_ratio, 2)} times the least possible; scored from `
			+ `${clock(from)} on. ${number(ticks * step / 3600)} hours of load`
			+ (missing > 0 ? `, of which ${number(missing * step / 3600)} are not known.` : ".");
	}

	show({ policies, series })
	{
		if (this.chart === undefined)
		{
			this.chart = new Chart({ title: "Backtest", unit: unit(this.group),
				sync: `backtest ${this.id}`, height: 220,
				lines: [
					{ title: "load", colour: "c-load", key: "load", fill: "c-load-fill" },
					{ title: "capacity", colour: "c-usable", key: "usable",
						dash: [8, 4], step: true },
					{ title: "lacking", colour: "bad", key: "lacking", fill: "bad",
						step: true }] });
			this.rows = h("div", {});
			fill(this.result, this.chart.element, this.rows);
		}
		this.chart.set([series.at, series.load, series.capacity, series.lacking],
			[series.at[0], series.at[series.at.length - 1]]);
		fill(this.rows, table("Policies compared",
			[["Policy", ""], ["Too little, % of time", "number"],
				["Load lost, %", "number"], ["Instance hours", "number"],
				["Times the least", "number"], ["In use, %", "number"],
				["Changes a day", "number"]],
			policies.map(row => [words[row.policy] ?? row.policy,
				number(row.violation_time, 2), number(row.violation_load, 2),
				number(row.instance_hours), number(row.cost_ratio, 2),
				number(row.utilization),
				row.ups_per_day === null ? number(null)
					: number(row.ups_per_day + row.downs_per_day)])));
	}

	restyle()
	{
		this.chart?.restyle();
	}

	close()
	{
		this.chart?.close();
	}
}
