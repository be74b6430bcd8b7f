/*
 * Requests to the server that this page came from.  The token is typed once
 * and forgotten with the tab.
 */

const key = "qpsscale.token";

export class Problem extends Error
{
	constructor(status, message, hint)
	{
		super(message);
		this.status = status;	/* 0: nobody answered */
		this.hint = hint;
	}
}

export function token()
{
	return sessionStorage.getItem(key);
}

export function setToken(value)
{
	if (value === null)
		sessionStorage.removeItem(key);
	else
		sessionStorage.setItem(key, value);
}

async function ask(path, options)
{
	let response, body;

	try
	{
		response = await fetch(path, { cache: "no-store", ...options,
			headers: { ...options.headers, Authorization: `Bearer ${token()}` } });
		body = await response.json();
	}
	catch (error)
	{
		if (error.name === "AbortError")
			throw error;
		throw new Problem(response?.status ?? 0, response
			? `The server answered ${response.status} in a form that this page does not understand.`
			: "The server does not answer.");
	}
	if (!response.ok)
		throw new Problem(response.status,
			body.detail ?? body.title ?? `status ${response.status}`, body.hint);
	return body;
}

export function get(path, parameters = {}, signal = undefined)
{
	const query = new URLSearchParams(Object.entries(parameters)
		.filter(([, value]) => value !== null && value !== undefined)).toString();

	return ask(query ? `${path}?${query}` : path, { signal });
}

export function post(path, body)
{
	return ask(path, { method: "POST", body: JSON.stringify(body),
		headers: { "Content-Type": "application/json" } });
}
