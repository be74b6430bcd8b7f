// What Kubernetes' own horizontal pod autoscaler makes of the cases that
// test/unit/hpa_cases.c prints: one number of replicas a line, -1 where it
// says that it cannot tell.  Built within Kubernetes' source (../build).
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// The controller's defaults.
const (
	tolerance         = 0.1
	cpuInitialization = 5 * time.Minute
	readinessDelay    = 30 * time.Second
)

// samples is a metrics service that knows one answer.
type samples struct {
	metrics.MetricsClient
	info metrics.PodMetricsInfo
}

func (s samples) GetResourceMetric(v1.ResourceName, string, labels.Selector, string) (metrics.PodMetricsInfo, time.Time, error) {
	return s.info, time.Now(), nil
}

// numbers are the words of a line, one after the other.
type numbers struct {
	words []string
}

func (n *numbers) next() int64 {
	value, err := strconv.ParseInt(n.words[0], 10, 64)
	if err != nil {
		panic(err)
	}
	n.words = n.words[1:]
	return value
}

// ago is the moment that was so many milliseconds ago.
func ago(now time.Time, ms int64) metav1.Time {
	return metav1.NewTime(now.Add(-time.Duration(ms) * time.Millisecond))
}

// pod reads one pod, and its sample where it has one.
func pod(name string, n *numbers, now time.Time, kind v1.ResourceName, info metrics.PodMetricsInfo) *v1.Pod {
	usage, request := n.next(), n.next()
	sampled, window := n.next(), n.next()
	started, changed := n.next(), n.next()
	ready, pending, gone := n.next(), n.next(), n.next()

	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "x"}}
	p.Status.Phase = v1.PodRunning
	if pending != 0 {
		p.Status.Phase = v1.PodPending
	}
	if gone != 0 {
		p.Status.Phase = v1.PodFailed
	}
	if started >= 0 {
		at := ago(now, started)
		p.Status.StartTime = &at
	}
	if changed >= 0 {
		status := v1.ConditionFalse
		if ready != 0 {
			status = v1.ConditionTrue
		}
		p.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: status, LastTransitionTime: ago(now, changed)}}
	}
	container := v1.Container{Name: "app"}
	if request >= 0 {
		container.Resources.Requests = v1.ResourceList{kind: *resource.NewMilliQuantity(request, resource.DecimalSI)}
	}
	p.Spec.Containers = []v1.Container{container}
	if usage >= 0 {
		info[name] = metrics.PodMetric{
			Timestamp: ago(now, sampled).Time,
			Window:    time.Duration(window) * time.Millisecond,
			Value:     usage,
		}
	}
	return p
}

// replicas is the answer to one line.
func replicas(line string) int32 {
	n := &numbers{strings.Fields(line)}
	now := time.Now()
	current, target, memory, count := n.next(), n.next(), n.next(), n.next()
	kind := v1.ResourceCPU
	if memory != 0 {
		kind = v1.ResourceMemory
	}
	info := metrics.PodMetricsInfo{}
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for i := int64(0); i < count; i++ {
		indexer.Add(pod(fmt.Sprintf("pod-%d", i), n, now, kind, info))
	}
	calculator := podautoscaler.NewReplicaCalculator(samples{info: info}, corelisters.NewPodLister(indexer), tolerance, cpuInitialization, readinessDelay)
	wanted, _, _, _, err := calculator.GetResourceReplicas(int32(current), int32(target), kind, "x", labels.Everything(), "")
	if err != nil {
		return -1
	}
	return wanted
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		fmt.Fprintln(out, replicas(in.Text()))
	}
}
