/*
 * The page of one group: charts on one time axis, why, what if, and the two
 * things an operator does to it.
 */
import { get, post } from "./api.js";
import { Backtest } from "./backtest.js";
import { Chart } from "./chart.js";
import { fill, h, table } from "./elements.js";
import { Lane } from "./lane.js";
import { steps, why } from "./why.js";
import { action, ago, change, clock, code, money, number, outcome, status, time,
	unit } from "./words.js";

const ranges = [["15 min", 900], ["1 hour", 3600], ["6 hours", 21600],
	["1 day", 86400], ["1 week", 604800], ["30 days", 2592000]];

/* Three lists of times made one; where one has none its values are skipped. */
function merged(series, forecast)
{
	const at = [...new Set([...series.at, ...(forecast?.at ?? [])])]
		.sort((a, b) => a - b);
	const place = new Map(at.map((when, i) => [when, i]));
	const spread = (times, values) => {
		const column = new Array(at.length).fill(undefined);

		times.forEach((when, i) => { column[place.get(when)] = values[i]; });
		return column;
	};

	return [at, spread(series.at, series.load), spread(series.at, series.usable),
		...["mean", "lower", "upper"].map(name =>
			spread(forecast?.at ?? [], forecast?.[name] ?? []))];
}

export class Group
{
	constructor(page, id)
	{
		this.page = page;
		this.id = id;
		this.seconds = Number(sessionStorage.getItem("qpsscale.range")) || 3600;
		this.moment = null;		/* explained; null: now */
		const sync = `group ${id}`;
		const onmoment = when => this.explain(when);

		this.loadChart = new Chart({ title: "Load and usable capacity",
			unit: "requests per second", sync, onmoment, height: 240,
			lines: [
				{ title: "load", colour: "c-load", key: "load", fill: "c-load-fill" },
				{ title: "usable capacity", colour: "c-usable", key: "usable",
					dash: [8, 4], step: true },
				{ title: "forecast", colour: "c-forecast", key: "forecast", dash: [2, 4] },
				{ title: "forecast low", colour: "c-forecast", key: "low", width: 0 },
				{ title: "forecast high", colour: "c-forecast", key: "high", width: 0 }],
			bands: [{ series: [5, 4], fill: "c-forecast-fill" }] });
		this.countChart = new Chart({ title: "Instances", unit: "instances",
			sync, onmoment, height: 180, fit: 2, whole: true,
			lines: [
				{ title: "running", colour: "c-service", key: "service", width: 4, step: true, digits: 0 },
				{ title: "desired", colour: "ink", key: "desired", dash: [6, 3], step: true, digits: 0 },
				{ title: "minimum", colour: "soft", key: "limit", dash: [2, 3], width: 1.5, step: true, digits: 0 },
				{ title: "maximum", colour: "soft", key: "limit", dash: [2, 3], width: 1.5, step: true, digits: 0 }] });
		this.lane = new Lane({ sync, onmoment });
		this.backtest = new Backtest(id, error => this.page.fail(error));
		this.head = h("div", {});
		this.facts = h("dl", { class: "figures" });
		this.notice = h("div", {});
		this.approved = h("div", { "aria-live": "polite" });
		this.list = h("div", {});
		this.all = h("input", { type: "checkbox", "data-key": "all verdicts",
			onchange: () => this.showTimeline() });
		this.whyBody = h("div", { class: "why" }, h("p", { class: "empty" }, "Loading …"));
		this.whyHead = h("div", { class: "panel-head" });
		this.element = h("div", {}, this.head, this.notice, this.approved, this.facts,
			this.rangeBar(),
			this.loadChart.element, this.countChart.element,
			h("section", { class: "chart" }, h("header", {}, h("h2", {}, "Decisions"),
				h("span", { class: "unit" }, "select a moment to have it explained")),
			this.lane.element),
			h("div", { class: "columns" },
				h("section", { class: "panel", "aria-label": "Why" }, this.whyHead, this.whyBody),
				h("div", {}, this.whatIfPanel(), this.operatePanel())),
			h("section", { class: "panel" }, h("div", { class: "panel-head" },
				h("h2", {}, "Timeline"), h("label", { class: "check" }, this.all,
					"with verdicts that asked for nothing")), this.list),
			this.backtest.element);
	}

	rangeBar()
	{
		const buttons = ranges.map(([word, seconds]) => h("button",
			{ type: "button", class: "quiet", "data-seconds": seconds,
				"aria-pressed": String(seconds === this.seconds),
				onclick: () => {
					this.seconds = seconds;
					sessionStorage.setItem("qpsscale.range", seconds);
					for (const button of buttons)
						button.setAttribute("aria-pressed",
							String(Number(button.dataset.seconds) === seconds));
					this.page.reload();
				} }, word));

		return h("div", { class: "ranges", role: "group", "aria-label": "Period" }, buttons);
	}

	async load(signal)
	{
		const until = Math.floor(Date.now() / 1000) + 1;
		const [answer] = await Promise.all([
			get("/groups/one", { resource_id: this.id,
				since: until - this.seconds, until }, signal),
			this.loadWhy(signal)]);

		this.answer = answer;
		this.show();
	}

	async loadWhy(signal)
	{
		const asked = this.moment;
		const answer = await get("/groups/why", { resource_id: this.id,
			at: asked }, signal);

		if (asked !== this.moment)
			return;
		fill(this.whyHead, h("h2", {}, "Why"),
			h("span", { class: "faint" }, asked === null ? "now" : `at ${clock(asked * 1000)}`),
			asked === null ? null : h("button", { type: "button", class: "quiet",
				"data-key": "why now", onclick: () => this.explain(null) }, "Now"));
		const open = this.whyBody.querySelector("details")?.open;

		fill(this.whyBody, why(answer));
		if (open)
			this.whyBody.querySelector("details")?.setAttribute("open", "");
	}

	explain(when)
	{
		this.moment = when;
		this.charts();
		this.loadWhy().catch(error => this.page.fail(error));
	}

	show()
	{
		const { group, spent, prediction } = this.answer;

		document.title = `${group.name} – qpsscale`;
		fill(this.head, h("div", { class: "title" },
			h("h1", {}, group.name), status(group.status),
			h("span", { class: "faint" }, `${group.provider} · ${group.target}`)));
		fill(this.notice,
			group.error ? h("p", { class: "notice bad" }, group.error) : null,
			group.approval ? h("p", { class: "notice ask" },
				h("span", {}, "Waits for a person until ",
					clock(group.approval.expires_at), ": ", action(group.approval.action),
					" ", change(group.approval.from, group.approval.to)),
				h("button", { type: "button", "data-key": "approve",
					disabled: !group.yours,
					onclick: () => this.approve(group.approval.decision_id) },
				"Do it")) : null,
			group.suspended ? h("p", { class: "notice" },
				`Suspended by ${group.suspended.by}, direction ${group.suspended.direction}`,
				group.suspended.until ? `, until ${clock(group.suspended.until)}` : ", until it is resumed",
				group.suspended.reason ? `: ${group.suspended.reason}` : "") : null,
			group.held ? h("p", { class: "notice" },
				`Held at ${group.held.instances} by ${group.held.by} until ${clock(group.held.until)}`,
				group.held.reason ? `: ${group.held.reason}` : "") : null);
		fill(this.facts, [
			["Load", number(group.load), unit(group)],
			[group.per_instance ? "Target each" : "Target", number(group.target_load), ""],
			group.in_service === null
				? ["Instances", number(group.instances, 0), "booting ones too"]
				: ["In service", number(group.in_service, 0), ""],
			["Desired", number(group.desired, 0), group.optimal === null ? ""
				: `${number(group.optimal, 0)} needed`],
			["Limits", group.minimum === null ? "–"
				: `${number(group.minimum, 0)}–${number(group.maximum, 0)}`, ""],
			["Last change", group.last_change === null ? "–"
				: change(group.last_change.from, group.last_change.to),
			group.last_change === null ? "" : ago(group.last_change.at)],
			["Cost an hour", money(group.hourly_cost, group.currency),
				group.unpriced ? h("span", { title: group.unpriced }, "no price") : ""],
			["Prediction", { off: "off", enabled: "on" }[prediction.mode] ?? "watched",
				prediction.mode === "off" ? "" : h("span", {
					title: `prediction_mode is ${prediction.mode}; loss ${number(prediction.loss_ratio, 2)}. How often the load stayed below`
						+ " the 0.95 quantile that was foreseen, and the loss in that of headroom instead: below 1 is better" },
				prediction.trust !== "full" ? prediction.trust.replaceAll("_", " ")
					: prediction.held === null ? "learning"
						: `${number(100 * prediction.held, 0)} % held`)],
			["This month", money(spent.cost, spent.currency),
				h("span", { title: spent.reason_unpriced ??
					`Against the maximum all the time; ${number(spent.unknown_hours, 1)} hours of it are not known` },
				spent.savings === null ? ""
					: `${number(spent.savings, 2)} saved`)]]
			.map(([word, value, more]) => h("div", {}, h("dt", {}, word),
				h("dd", {}, value, h("small", {}, more)))));
		this.backtest.group = group;
		this.charts();
		this.showTimeline();
		this.whatIfDefaults();
		this.resume.disabled = !group.yours || (!group.suspended && !group.held);
		this.suspend.disabled = !group.yours;
	}

	charts()
	{
		const { series, forecast, since, until, group, timeline } = this.answer;
		const present = series.at.length > 0
			? Math.max(series.at[series.at.length - 1], 0) : null;
		const end = Math.max(new Date(until) / 1000, ...(forecast?.at ?? []));
		/* nothing is known of before the first point */
		const range = [series.at.length > 1 && series.at.length < 600
			? Math.max(series.at[0], new Date(since) / 1000)
			: new Date(since) / 1000, end];
		const marks = { moment: this.moment,
			present: forecast ? present : null };

		this.loadChart.element.querySelector(".unit").textContent =
			this.loadChart.unit = unit(group);
		this.loadChart.element.classList.toggle("no-forecast", !forecast);
		this.loadChart.set(merged(series, forecast), range, marks);
		this.countChart.set([series.at, series.running, series.desired,
			series.minimum, series.maximum], range, marks);
		this.lane.set(timeline, range);
	}

	showTimeline()
	{
		const timeline = this.answer.timeline.filter(entry => this.all.checked
			|| entry.kind !== "evaluation" || entry.status === "held back");

		if (timeline.length === 0)
		{
			fill(this.list, h("p", { class: "empty" },
				"Nothing was done or held back in this period."));
			return;
		}
		fill(this.list, table("Timeline",
			[["When", ""], ["What", ""], ["Instances", "number"], ["Outcome", ""],
				["Why", "wide"]],
			timeline.slice(0, 100).map(entry => [
				h("button", { type: "button", class: "link",
					"data-key": `${entry.kind} ${entry.id}`,
					title: "Explain this moment",
					onclick: () => this.explain(new Date(entry.at) / 1000) }, time(entry.at)),
				entry.kind === "operator"
					? h("span", { class: "action person" }, entry.action.replaceAll("_", " "))
					: action(entry.action),
				entry.kind === "activity" ? change(entry.from, entry.to)
					: number(entry.to, 0),
				entry.kind === "operator" ? `by ${entry.by}` : outcome(entry.status),
				[entry.reason ? code(entry.reason) : null,
					h("div", { class: "faint" }, entry.message ?? "")]])));
	}

	whatIfPanel()
	{
		const field = (name, word, least = "0") => h("label", {}, word,
			h("input", { type: "number", name, min: least, step: "any",
				inputmode: "decimal" }));

		this.fields = h("div", { class: "fields" },
			field("qps", "Load"), field("target_qps", "Target each"),
			field("min_instances", "Minimum"), field("max_instances", "Maximum"));
		this.answerOf = h("div", { "aria-live": "polite" });
		return h("section", { class: "panel" }, h("h2", {}, "What if"),
			h("p", { class: "faint" }, "Decides on the newest observation with other numbers. Nothing is changed or recorded."),
			h("form", { onsubmit: event => this.whatIf(event) }, this.fields,
				h("div", { class: "buttons" },
					h("button", { type: "submit" }, "Decide"),
					h("button", { type: "reset", class: "quiet",
						onclick: () => fill(this.answerOf) }, "Clear"))),
			this.answerOf);
	}

	/* What holds now is shown where nothing is typed. */
	whatIfDefaults()
	{
		const { group, policy } = this.answer;

		for (const [name, value] of [["qps", group.load],
			["target_qps", policy.target_qps], ["min_instances", group.minimum],
			["max_instances", group.maximum]])
		{
			const input = this.fields.querySelector(`[name=${name}]`);

			input.placeholder = value === null || value === undefined ? ""
				: String(Math.round(value * 100) / 100);
			input.disabled = policy.target_qps === null
				&& (name === "qps" || name === "target_qps");
		}
	}

	async whatIf(event)
	{
		event.preventDefault();
		const overrides = {};

		for (const input of this.fields.querySelectorAll("input"))
		{
			if (input.value !== "" && !input.disabled)
				overrides[input.name] = Number(input.value);
		}
		await this.try(this.answerOf, async () => {
			const answer = await post("/groups/what-if",
				{ resource_id: this.id, overrides });

			fill(this.answerOf, steps(answer.explanation, h("div", {},
				h("p", {}, action(answer.action), " ", h("strong", {},
					change(answer.current_instances, answer.target_instances)),
				" ", code(answer.reason)),
				h("p", {}, answer.summary),
				answer.hourly_cost === null ? null : h("p", {},
					`It would cost ${money(answer.hourly_cost, answer.currency)} an hour.`))));
		});
	}

	operatePanel()
	{
		this.said = h("div", { "aria-live": "polite" });
		this.suspend = h("button", { type: "submit", disabled: true }, "Suspend");
		this.resume = h("button", { type: "button", class: "quiet", disabled: true,
			onclick: () => this.operate("/groups/resume", {}, "Resumed.") }, "Resume");
		return h("section", { class: "panel" }, h("h2", {}, "Suspend and resume"),
			h("form", { onsubmit: event => {
				event.preventDefault();
				const form = new FormData(event.target);
				const minutes = Number(form.get("minutes"));

				this.operate("/groups/suspend", {
					direction: form.get("direction"),
					reason: form.get("reason") || null,
					until: minutes > 0
						? new Date(Date.now() + minutes * 60000).toISOString() : null },
				"Suspended.");
			} },
			h("div", { class: "fields pairs" },
				h("label", {}, "Stop", h("select", { name: "direction" },
					h("option", { value: "both" }, "growing and shrinking"),
					h("option", { value: "down" }, "shrinking"),
					h("option", { value: "up" }, "growing"))),
				h("label", {}, "For", h("select", { name: "minutes" },
					h("option", { value: "30" }, "30 minutes"),
					h("option", { value: "120" }, "2 hours"),
					h("option", { value: "1440" }, "a day"),
					h("option", { value: "0" }, "until resumed"))),
				h("label", { class: "whole" }, "Reason",
					h("input", { name: "reason", maxlength: 200, autocomplete: "off" }))),
			h("div", { class: "buttons" }, this.suspend, this.resume)),
			this.said);
	}

	async approve(id)
	{
		await this.try(this.approved, async () => {
			await post("/scale/execute", { decision_id: id });
			fill(this.approved, h("p", { class: "notice good" }, "Done."));
			this.page.reload();
		});
	}

	async operate(path, body, said)
	{
		await this.try(this.said, async () => {
			await post(path, { resource_id: this.id, ...body });
			fill(this.said, h("p", { class: "notice good" }, said));
			this.page.reload();
		});
	}

	async try(where, what)
	{
		try
		{
			await what();
		}
		catch (error)
		{
			if (error.status === 401)
				this.page.fail(error);
			else
				fill(where, h("p", { class: "notice bad" }, error.message,
					error.hint ? h("small", {}, ` ${error.hint}`) : null));
		}
	}

	restyle()
	{
		for (const part of [this.loadChart, this.countChart, this.lane,
			this.backtest])
			part.restyle();
	}

	close()
	{
		for (const part of [this.loadChart, this.countChart, this.lane,
			this.backtest])
			part.close();
	}
}
