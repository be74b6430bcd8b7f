/*
 * The pages that are lists: history, errors, alerts and their deliveries.
 */
import { get, post } from "./api.js";
import { fill, h, icon, table } from "./elements.js";
import { action, change, code, number, outcome, time } from "./words.js";

function groupLink(id, name)
{
	return id ? h("a", { href: `#/group/${id}`, },
		name ?? id) : h("span", { class: "faint" }, name ?? "–");
}

/* A list that is gone through page by page, newest first. */
class List
{
	constructor(page, title, about)
	{
		this.page = page;
		this.before = [];
		this.body = h("div", {});
		this.paging = h("div", { class: "paging" });
		this.element = h("div", {}, h("div", { class: "title" }, h("h1", {}, title),
			h("span", { class: "faint" }, about)), this.body, this.paging);
	}

	parameters()
	{
		return { limit: 50, before_id: this.before[this.before.length - 1] };
	}

	pages(answer)
	{
		fill(this.paging,
			this.before.length > 0 ? h("button", { type: "button", "data-key": "newer",
				onclick: () => { this.before.pop(); this.page.reload(); } }, "Newer") : null,
			answer.next ? h("button", { type: "button", "data-key": "older",
				onclick: () => { this.before.push(answer.next); this.page.reload(); } },
			"Older") : null);
	}

	restyle() {}
	close() {}
}

export class History extends List
{
	constructor(page)
	{
		super(page, "History", "what was done, newest first");
		this.names = new Map();
	}

	async load(signal)
	{
		const answer = await get("/scale/history", this.parameters(), signal);

		if (answer.events.some(event => event.resource_id
			&& !this.names.has(event.resource_id)))
		{
			const { groups } = await get("/groups", { limit: 1000 }, signal);

			this.names = new Map(groups.map(group => [group.resource_id, group.name]));
		}
		fill(this.body, answer.events.length === 0
			? h("p", { class: "empty" }, "Nothing has been done yet. A group that is in dry run records what it would do.")
			: table("History", [["When", ""], ["Group", ""], ["Action", ""],
				["Instances", "number"], ["Outcome", ""], ["Load", "number optional"],
				["Why", "wide"]],
			answer.events.map(event => [time(event.created_at),
				groupLink(event.resource_id, this.names.get(event.resource_id)),
				action(event.action),
				change(event.previous_instances, event.new_instances),
				outcome(event.status), number(event.requests_per_second),
				[code(event.reason), event.requested_by
					? h("span", { class: "faint" }, ` by ${event.requested_by}`) : null,
				h("div", { class: "faint" }, event.error_message ?? "")]])));
		this.pages(answer);
	}
}

export class Errors extends List
{
	constructor(page)
	{
		super(page, "Errors", "an error that repeats from tick to tick is recorded once");
	}

	async load(signal)
	{
		const answer = await get("/errors", this.parameters(), signal);

		fill(this.body, answer.errors.length === 0
			? h("p", { class: "empty" }, icon("live"), " No error is recorded.")
			: table("Errors", [["When", ""], ["Group", ""], ["Source", ""],
				["Message", "wide"]],
			answer.errors.map(error => [time(error.at),
				error.group ? groupLink(error.resource_id, error.group) : "all",
				code(error.source),
				[error.message, h("div", { class: "faint" }, Object
					.entries(error.context ?? {}).filter(([, value]) => value !== null)
					.map(([name, value]) => `${name} ${typeof value === "object"
						? JSON.stringify(value) : value}`).join(", "))]])));
		this.pages(answer);
	}
}

export class Alerts extends List
{
	constructor(page)
	{
		super(page, "Alerts", "what fires now, where it is sent, and what became of that");
		this.said = h("div", { "aria-live": "polite" });
		this.body.before(this.said);
	}

	async load(signal)
	{
		const answer = await get("/webhooks", this.parameters(), signal);

		fill(this.body,
			h("section", { class: "panel" }, h("h2", {}, "Firing"),
				answer.firing.length === 0
					? h("p", { class: "empty" }, icon("live"), " Nothing is firing.")
					: table("Firing alerts", [["Since", ""], ["Severity", ""], ["Group", ""],
						["Alert", "wide"]],
					answer.firing.map(alert => [time(alert.at), outcome(alert.severity),
						groupLink(alert.resource_id, alert.group ?? "all"),
						[alert.summary, h("div", {}, code(alert.type))]]))),
			h("section", { class: "panel" }, h("h2", {}, "Endpoints"),
				answer.webhooks.length === 0
					? h("p", { class: "empty" }, "No webhook is set up. INSERT INTO qpsscale.webhooks makes one.")
					: table("Endpoints", [["Name", ""], ["Format", ""], ["State", ""],
						["Alerts", "wide"]],
					answer.webhooks.map(hook => [hook.name, hook.format,
						hook.enabled ? h("span", { class: "status good" }, icon("live"), "enabled")
							: h("span", { class: "status note" }, icon("pause"), "disabled"),
						hook.disabled_reason ?? (hook.events === null ? "all"
							: hook.events.join(", "))]))),
			h("section", { class: "panel" }, h("h2", {}, "Deliveries"),
				answer.deliveries.length === 0
					? h("p", { class: "empty" }, "Nothing has been sent yet.")
					: table("Deliveries", [["When", ""], ["To", ""], ["Alert", "wide"],
						["Outcome", ""], ["Attempts", "number"], ["Answer", "number"],
						["Again", ""]],
					answer.deliveries.map(delivery => [time(delivery.at),
						delivery.webhook ?? "(deleted)",
						[delivery.summary ?? "(deleted)", h("div", {}, code(delivery.type),
							` ${delivery.transition === "event" ? "" : delivery.transition}`),
						delivery.error ? h("div", { class: "faint" }, delivery.error) : null],
						outcome(delivery.status), number(delivery.attempts, 0),
						delivery.http_status ?? "–",
						h("button", { type: "button", class: "quiet",
							"data-key": `replay ${delivery.id}`,
							"aria-label": `Send again: delivery ${delivery.id}`,
							onclick: () => this.replay(delivery.id) }, "Send again")]))));
		this.pages(answer);
	}

	async replay(id)
	{
		try
		{
			await post("/webhooks/replay", { delivery_id: id });
			fill(this.said, h("p", { class: "notice good" }, "It is being sent again."));
			this.page.reload();
		}
		catch (error)
		{
			if (error.status === 401)
				this.page.fail(error);
			else
				fill(this.said, h("p", { class: "notice bad" }, error.message));
		}
	}
}
