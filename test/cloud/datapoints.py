"""The series of a GetMetricData reply, with all that may be odd about them."""

import json

from traffic import mix

# Factor of each statistics method; None: the sum over the period.  They
# differ so that a client which mixes methods up is found out.
METHODS = {"avg": 1.0, "sum": None, "max": 1.25, "min": 0.75}


class Window:
    """The data points of one metric over one time window."""

    def __init__(self, world, now, times, period, sub_namespace, metric):
        self.world = world
        self.now = now
        self.times = times
        self.period = period
        self.sub_namespace = sub_namespace
        self.metric = metric
        sim_now = world.sim_now()
        # (timestamp, simulated time, complete fraction).  A point keeps its
        # real timestamp; its age decides which simulated moment it shows.
        self.points = []
        for timestamp in times:
            # Load balancers publish once a minute, however fine one asks.
            if timestamp % 60 and period < 60:
                continue
            at = round(sim_now - (now - timestamp), 3)
            done = min((now - timestamp) / period, 1.0)
            self.points.append((timestamp, at, done))
        self._mixed = mix([('{"Timestamp":%d,"Value":' % timestamp, at, done)
                           for timestamp, at, done in self.points])

    def _curve(self, balancer):
        """The function that a load balancer's metric follows."""
        own = balancer.metrics.get(self.metric)
        if own is not None:
            return own
        if self.metric in ("load_balancer_qps", "listener_qps"):
            return balancer.curve
        healthy = self.metric == "listener_healthy_rs_count"
        if healthy or self.metric == "listener_unhealthy_rs_count":
            count = 0
            for group in self.world.groups.of_alb(balancer.alb_id):
                group.advance(self.now)
                count += (group.count("InService", "Protected") if healthy
                          else group.count("Error"))
            return lambda t: count
        return lambda t: 0.0

    def series(self, alb_id, dimensions, method):
        """One MetricDataResults element as JSON text, or None."""
        balancer = self.world.traffic.balancers[alb_id]
        listener = "lsn-" + alb_id
        allowed = {"ResourceID": alb_id}
        if self.sub_namespace == "listener":
            allowed["ListenerID"] = listener
        if dimensions and any(allowed.get(name) != value
                              for name, value in dimensions.items()):
            return None
        if balancer.series == "omit":
            return None
        if balancer.series == "empty":
            points = "[]"
        elif balancer.series == "null_points":
            points = "null"
        else:
            points = "[%s]" % ",".join(self._data_points(balancer, method))
        return self._element(alb_id, method, points)

    def _element(self, alb_id, method, points):
        name = self._quoted(alb_id)
        more = ""
        if self.sub_namespace == "listener":
            more = ',{"Name":"ListenerID","Value":%s}' % json.dumps(
                "lsn-" + alb_id)
        return ('{"Legend":%s,"StatisticsMethods":"%s","Dimensions":'
                '[{"Name":"ResourceID","Value":%s}%s],"DataPoints":%s}'
                % (name, method, name, more, points))

    def _quoted(self, alb_id):
        balancer = self.world.traffic.balancers.get(alb_id)
        return json.dumps(alb_id) if balancer is None else balancer.quoted

    def stray(self):
        """A series nobody asked for."""
        return self._element("alb-nobody-asked-for", "avg",
                             '[{"Timestamp":%d,"Value":987654.0}]'
                             % self.times[0])

    def _data_points(self, balancer, method):
        factor = METHODS[method]
        if factor is None:
            factor = float(self.period)
        curve = self._curve(balancer)
        if balancer.plain:
            # Nothing special about it: thousands of these are asked for.
            values = [(prefix, curve(at), done)
                      for prefix, at, done in self._mixed]
            return ["%s%s}" % (prefix, "null" if value != value
                               else round(value * factor * done, 3))
                    for prefix, value, done in values if value is not None]
        newest = self.now - balancer.lag
        shown = []
        known = [p for p in self.points
                 if p[0] + (self.period if balancer.lag else 0) <= newest]
        for index, (timestamp, at, done) in enumerate(known):
            if done < 1.0 and balancer.incomplete == "omit":
                continue
            value = curve(at)
            if value is None:
                continue
            if done < 1.0 and balancer.incomplete == "scaled":
                value *= done
            if value != value or balancer.is_null(
                    index, len(known), timestamp, self.period):
                shown.append(null_point(timestamp, balancer.null_form))
                continue
            shown.append('{"Timestamp":%d,"Value":%s}'
                         % (timestamp, round(value * factor, 3)))
        if balancer.order == "mixed":
            return mix(shown)
        return shown[::-1] if balancer.order == "reversed" else shown


def null_point(timestamp, form):
    """A point without a value, in one of the ways to have none."""
    if form == "absent":
        return '{"Timestamp":%d}' % timestamp
    value = {"null": "null", "nan": "NaN", "infinity": "1e999",
             "text": '"-"'}[form]
    return '{"Timestamp":%d,"Value":%s}' % (timestamp, value)
