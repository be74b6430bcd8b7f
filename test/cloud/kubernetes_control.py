"""What tests do to the cluster: the control API under /_emulator/kubernetes.

    PUT    objects [{"namespace", "name", "resource": "deployments.v1.apps",
                     settings of kubernetes.OBJECT_SETTINGS, "ready": n}]
    GET    objects, objects/NS/NAME[?resource=..]; PATCH, DELETE likewise
    PUT    autoscalers [{"namespace", "name", "target", "kind", "apiVersion"}]
    PUT    settings {"tokens": {token: user}, "rules": [..] or null, "kinds",
                     "serves_metrics", "page", "boot_delay", "races"}
    POST   compact, crowd, calm
"""

import kubernetes

SETTINGS = {"tokens": dict, "rules": (list, type(None)), "kinds": dict,
            "serves_metrics": bool, "page": int, "races": dict, "boot_delay": (int, float)}
DEFAULT = "deployments.v1.apps"


def key_of(spec):
    return (kubernetes.resource_of(spec.get("resource", DEFAULT)),
            spec["namespace"], spec["name"])


def put_objects(cluster, specs, now):
    """Creates or replaces objects: all of the list, or none."""
    made = {}
    for spec in specs:
        key = key_of(spec)
        settings = {name: value for name, value in spec.items()
                    if name not in ("resource", "namespace", "name")}
        made[key] = kubernetes.Object(cluster, *key, settings, now)
    cluster.objects.update(made)
    return {"objects": len(made)}


def patch_object(found, data, now):
    """What somebody else does to it."""
    if set(data) - set(kubernetes.OBJECT_SETTINGS):
        raise ValueError("a patch takes "
                         + ", ".join(sorted(kubernetes.OBJECT_SETTINGS)))
    replicas = data.pop("replicas", found.replicas)
    found.settings.update(data)
    if data:
        found.touch()
    if replicas != found.replicas:
        found.write(replicas, "control", now)
    for pod in found.pods:
        pod.settings = found.settings["pod_settings"]


def put_settings(cluster, data):
    for name, value in data.items():
        if name not in SETTINGS or not isinstance(value, SETTINGS[name]):
            raise ValueError("%s cannot be %r" % (name, value))
    for name, value in data.items():
        setattr(cluster, name, value)


def handle(cluster, method, parts, query, data, now):
    """The answer to a control call; KeyError where there is no such thing."""
    what = parts[0] if parts else ""
    if (method, what, len(parts)) == ("PUT", "objects", 1):
        return put_objects(cluster, data, now)
    if (method, what, len(parts)) == ("GET", "objects", 1):
        return {"objects": [o.report(now) for o in cluster.objects.values()]}
    if what == "objects" and len(parts) == 3:
        key = key_of({"namespace": parts[1], "name": parts[2], **query})
        found = cluster.objects[key]
        if method == "PATCH":
            patch_object(found, data, now)
        elif method == "DELETE":
            del cluster.objects[key]
        return found.report(now)
    if (method, what) == ("PUT", "autoscalers"):
        cluster.autoscalers = data
    elif (method, what) == ("PUT", "settings"):
        put_settings(cluster, data)
    elif (method, what) == ("POST", "compact"):
        cluster.compact()
    elif method == "POST" and what in ("crowd", "calm"):
        cluster.crowded = what == "crowd"
    else:
        raise ValueError("no such control call")
    return {"ok": True}
