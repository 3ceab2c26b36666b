package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	promscrape "github.com/prometheus/prometheus/scrape"
	"go.yaml.in/yaml/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// builder runs Prometheus' discovery of pods over a store that the test fills.
type builder struct {
	cache.SharedIndexInformer // nil: other methods are not called
	store                     cache.Store
	handler                   cache.ResourceEventHandler
	out                       chan []*targetgroup.Group
}

func (b *builder) GetStore() cache.Store { return b.store }
func (b *builder) HasSynced() bool       { return true }
func (b *builder) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	b.handler = h
	return nil, nil
}

// newBuilder starts a builder. The discovery sees the store through wrap.
func newBuilder(t testing.TB, wrap func(cache.SharedIndexInformer) cache.SharedIndexInformer) *builder {
	b := &builder{store: cache.NewStore(cache.DeletionHandlingMetaNamespaceKeyFunc),
		out: make(chan []*targetgroup.Group)}
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"role", "event"})
	pods := kubernetes.NewPod(nil, wrap(b), nil, nil, nil, nil, false, false, false, events)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); pods.Run(ctx, b.out) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// group returns the target group of an object.
func (b *builder) group(t testing.TB, object any) *targetgroup.Group {
	t.Helper()
	if err := b.store.Add(object); err != nil {
		t.Fatal(err)
	}
	b.handler.OnAdd(object, false)
	var groups []*targetgroup.Group
	select {
	case groups = <-b.out:
	case <-time.After(30 * time.Second):
		t.Fatal("no group of", object)
	}
	if err := b.store.Delete(object); err != nil {
		t.Fatal(err)
	}
	return groups[0]
}

// pair builds groups from whole pods and from trimmed pods.
type pair struct {
	whole, trimmed *builder
	shared         *sharer
}

func newPair(t testing.TB) pair {
	return pair{
		whole:   newBuilder(t, func(i cache.SharedIndexInformer) cache.SharedIndexInformer { return i }),
		trimmed: newBuilder(t, func(i cache.SharedIndexInformer) cache.SharedIndexInformer { return podInformer{i} }),
		shared:  newSharer(),
	}
}

// compare fails if trimming drops a label that rules can read, changes one, or changes the result of the rules.
func (p pair) compare(t testing.TB, pod *corev1.Pod, rules []*relabel.Config) {
	t.Helper()
	r := newReads()
	r.add(rules)
	stored, err := storing(r)(pod.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	got, want := trimGroup(p.trimmed.group(t, stored), r), p.whole.group(t, pod)
	p.shared.share(got)
	for i, own := range got.Targets {
		got.Targets[i] = Own(own, got.Labels, model.LabelSet{})
	}
	kept := map[string]bool{}
	for _, l := range append([]model.LabelSet{want.Labels}, want.Targets...) {
		for name := range l {
			kept[string(name)] = name == model.AddressLabel || canRead(rules, string(name))
		}
	}
	if only := restrict(want, kept); !reflect.DeepEqual(got, only) {
		t.Fatalf("got\n%s\nwant\n%s\nwith\n%s", describe(got), describe(only), ruleText(rules))
	}
	for i := range want.Targets {
		w, g := outcome(want, i, rules), outcome(got, i, rules)
		if w != g {
			t.Fatalf("target %d: trimmed gives %s, whole gives %s, with\n%s", i, g, w, ruleText(rules))
		}
	}
}

// canRead reports whether rules can read a label. It is written independently of reads.
func canRead(rules []*relabel.Config, name string) bool {
	switch strings.TrimPrefix(name, "__meta_kubernetes_") {
	case "namespace", "pod_name", "pod_ip", "pod_container_name", "pod_container_port_name":
		return true
	}
	for _, rule := range rules {
		for _, source := range rule.SourceLabels {
			if string(source) == name {
				return true
			}
		}
		if strings.HasSuffix(string(rule.Action), "equal") && rule.TargetLabel == name ||
			rule.Action == relabel.LabelMap && rule.Regex.MatchString(name) {
			return true
		}
	}
	return false
}

// restrict returns a copy of g with only the kept labels that have a value.
func restrict(g *targetgroup.Group, kept map[string]bool) *targetgroup.Group {
	cut := func(l model.LabelSet) model.LabelSet {
		small := model.LabelSet{}
		for name, value := range l {
			if kept[string(name)] && value != "" {
				small[name] = value
			}
		}
		return small
	}
	if len(g.Targets) == 0 {
		return &targetgroup.Group{Source: g.Source}
	}
	small := &targetgroup.Group{Source: g.Source, Labels: cut(g.Labels)}
	for _, target := range g.Targets {
		small.Targets = append(small.Targets, cut(target))
	}
	return small
}

func describe(g *targetgroup.Group) string {
	return fmt.Sprintf("%s %v %v", g.Source, g.Labels, g.Targets)
}

func ruleText(rules []*relabel.Config) string {
	text, err := yaml.Marshal(rules)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// outcome returns the result of the rules for a target.
func outcome(g *targetgroup.Group, i int, rules []*relabel.Config) string {
	cfg := &promconfig.ScrapeConfig{
		JobName: "job", Scheme: "http", MetricsPath: "/metrics",
		ScrapeInterval: model.Duration(60e9), ScrapeTimeout: model.Duration(10e9),
		RelabelConfigs: rules, MetricNameValidationScheme: model.UTF8Validation,
	}
	l, err := promscrape.PopulateLabels(labels.NewBuilder(labels.EmptyLabels()), cfg, g.Targets[i], g.Labels)
	return fmt.Sprintf("%s (%v)", l, err)
}

// ruleTexts returns rules of all kinds.
func ruleTexts() []string {
	return []string{
		`{source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}`,
		`{source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port], ` +
			`regex: '([^:]+)(?::\d+)?;(\d+)', replacement: '$1:15090', target_label: __address__}`,
		`{action: labeldrop, regex: __meta_kubernetes_pod_label_(.+)}`,
		`{action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}`,
		`{action: labelmap, regex: '__meta_kubernetes_pod_(annotationpresent|labelpresent)_(.+)', replacement: has_$2}`,
		`{action: labelmap}`,
		`{action: labelkeep, regex: '__.*|app'}`,
		`{source_labels: [__meta_kubernetes_pod_phase], action: drop, regex: Failed|Succeeded}`,
		`{source_labels: [__meta_kubernetes_pod_ready, __meta_kubernetes_pod_node_name], target_label: node}`,
		`{source_labels: [__meta_kubernetes_pod_container_init], target_label: init}`,
		`{source_labels: [__meta_kubernetes_pod_container_id], target_label: id}`,
		`{source_labels: [__meta_kubernetes_pod_container_image], target_label: image}`,
		`{source_labels: [__meta_kubernetes_pod_controller_kind, __meta_kubernetes_pod_controller_name], ` +
			`target_label: owner}`,
		`{source_labels: [__meta_kubernetes_pod_uid], action: hashmod, modulus: 7, target_label: shard}`,
		`{source_labels: [__meta_kubernetes_pod_container_port_number], action: keepequal, ` +
			`target_label: __meta_kubernetes_pod_annotation_prometheus_io_port}`,
		`{source_labels: [__meta_kubernetes_pod_container_port_protocol], action: dropequal, ` +
			`target_label: __meta_kubernetes_pod_label_app}`,
		`{source_labels: [__meta_kubernetes_pod_host_ip], action: lowercase, target_label: host}`,
		`{source_labels: [__meta_kubernetes_pod_label_app], target_label: __meta_kubernetes_pod_phase}`,
		`{source_labels: [__meta_kubernetes_pod_name], regex: '(.+)', ` +
			`target_label: '__meta_kubernetes_pod_label_$1', replacement: x}`,
		`{source_labels: [__meta_kubernetes_pod_annotationpresent_prometheus_io_port], target_label: annotated}`,
	}
}

func parseRule(t testing.TB, text string) *relabel.Config {
	t.Helper()
	var rule relabel.Config
	if err := yaml.UnmarshalStrict([]byte(text), &rule); err != nil {
		t.Fatal(text, err)
	}
	rule.NameValidationScheme = model.UTF8Validation
	return &rule
}

// generatedPod is a pod with all that discovery reads and more, each there or not, odd or not.
func generatedPod(rng *rand.Rand, n int) *corev1.Pod {
	maybe := func(values ...string) string { return append(values, "")[rng.IntN(len(values)+1)] }
	yes := rng.IntN(2) == 0
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns-" + strconv.Itoa(n%3), Name: "pod-" +
			strconv.Itoa(n), ResourceVersion: strconv.Itoa(rng.IntN(1000)),
		UID: types.UID(maybe("0b9a", "f00")), GenerateName: "pod-", Generation: 3,
		Labels: map[string]string{"app": maybe("a", "TCP"), "a.b/c-d": "dotted",
			strings.Repeat("l", rng.IntN(4)+1): maybe("x")},
		Annotations:   map[string]string{"note": "ünïcode", "empty": ""},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
	}}
	if rng.IntN(3) > 0 {
		pod.Annotations["prometheus.io/port"] = maybe("8080", "15090", "x")
	}
	for range rng.IntN(3) {
		pod.OwnerReferences = append(pod.OwnerReferences,
			metav1.OwnerReference{Kind: maybe("ReplicaSet", "Job", "DaemonSet"), Name: maybe("web-1"),
				Controller: &yes})
	}
	pod.Spec.NodeName, pod.Spec.HostNetwork = maybe("node-a"), yes
	pod.Spec.Containers = generatedContainers(rng, "c")
	pod.Spec.InitContainers = generatedContainers(rng, maybe("c", "i"))
	pod.Status.Phase = corev1.PodPhase(maybe("Running", "Failed", "Pending"))
	pod.Status.PodIP, pod.Status.HostIP = maybe("10.0.0.1", "fd00::1", "10.0.0.2"), maybe("192.168.0.1", "FD00::2")
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}, {IP: "fd00::9"}}
	for range rng.IntN(4) {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodConditionType(maybe("Ready", "Initialized")), Status: corev1.ConditionStatus(
				maybe("True", "False", "Unknown"))})
	}
	pod.Status.ContainerStatuses = generatedStatuses(rng, "c")
	pod.Status.InitContainerStatuses = generatedStatuses(rng, "i")
	return pod
}

func generatedContainers(rng *rand.Rand, prefix string) []corev1.Container {
	var all []corev1.Container
	always := corev1.ContainerRestartPolicyAlways
	for i := range rng.IntN(4) {
		c := corev1.Container{Name: prefix + strconv.Itoa(i%2), Image: "image:" + strconv.Itoa(i),
			RestartPolicy: &always,
			Env:           []corev1.EnvVar{{Name: "A", Value: "B"}}}
		for p := range rng.IntN(3) {
			c.Ports = append(c.Ports, corev1.ContainerPort{Name: []string{"", "http", "http-envoy-prom"}[rng.IntN(3)],
				ContainerPort: int32(8080 + p), Protocol: []corev1.Protocol{"", "TCP",
					"UDP"}[rng.IntN(3)], HostPort: 80})
		}
		all = append(all, c)
	}
	return all
}

func generatedStatuses(rng *rand.Rand, prefix string) []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for i := range rng.IntN(4) {
		all = append(all, corev1.ContainerStatus{Name: prefix + strconv.Itoa(i%2),
			ContainerID: []string{"", "containerd://" + strconv.Itoa(i)}[rng.IntN(2)], Image: "x"})
	}
	return all
}

func TestTrimmedPodsComeToTheSameTargets(t *testing.T) {
	p := newPair(t)
	rng := rand.New(rand.NewPCG(1, 2))
	texts := ruleTexts()
	for n := range 3000 {
		var rules []*relabel.Config
		for range rng.IntN(4) {
			rules = append(rules, parseRule(t, texts[rng.IntN(len(texts))]))
		}
		p.compare(t, generatedPod(rng, n), rules)
	}
}

func TestStoringAStoredPodChangesNothing(t *testing.T) {
	transform := storing(newReads())
	stored, err := transform(generatedPod(rand.New(rand.NewPCG(1, 2)), 7))
	if err != nil {
		t.Fatal(err)
	}
	again, err := transform(stored)
	if err != nil || again != stored {
		t.Errorf("stored again: %v, %v", again, err)
	}
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(stored)
	if err != nil || key != "ns-1/pod-7" {
		t.Errorf("key %q, %v", key, err)
	}
}

// FuzzTrim: trimming any pod that an API server can send changes no target.
func FuzzTrim(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	texts := ruleTexts()
	for n := range texts {
		body, err := generatedPod(rng, n).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, byte(n), byte(n+5), byte(n+11))
	}
	p := newPair(f)
	f.Fuzz(func(t *testing.T, body []byte, a, b, c byte) {
		var pod corev1.Pod
		if pod.Unmarshal(body) != nil || pod.Name == "" || strings.Contains(pod.Namespace+pod.Name, "/") ||
			collides(pod.Labels) || collides(pod.Annotations) {
			t.Skip()
		}
		var rules []*relabel.Config
		for _, n := range []byte{a, b, c} {
			rules = append(rules, parseRule(t, texts[int(n)%len(texts)]))
		}
		p.compare(t, &pod, rules)
	})
}

// collides reports whether two keys become the same label name. Which one wins is then random.
func collides(meta map[string]string) bool {
	names := map[string]bool{}
	for key := range meta {
		name := strings.Map(func(r rune) rune {
			if r < 128 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9') {
				return r
			}
			return '_'
		}, key)
		if names[name] {
			return true
		}
		names[name] = true
	}
	return false
}

func TestReads(t *testing.T) {
	for rule, want := range map[string]string{
		`{source_labels: [a, __meta_x], target_label: __meta_y}`:                           "a __meta_x",
		`{action: labelmap, regex: '__meta_(x|y)'}`:                                        "__meta_x __meta_y",
		`{action: labeldrop, regex: '__meta_(x|y)'}`:                                       "",
		`{action: labelkeep, regex: '__meta_(x|y)'}`:                                       "",
		`{source_labels: [a], action: keepequal, target_label: __meta_y}`:                  "a __meta_y",
		`{source_labels: [a], action: dropequal, target_label: __meta_y}`:                  "a __meta_y",
		`{source_labels: [__meta_x], action: keep, regex: "1"}`:                            "__meta_x",
		`{source_labels: [__meta_x], action: hashmod, modulus: 2, target_label: __meta_y}`: "__meta_x",
		`{source_labels: [a], regex: (.*), target_label: '__meta_$1', replacement: x}`:     "a",
		`{action: labelmap}`: "a __meta_x __meta_y",
	} {
		r := newReads()
		r.add([]*relabel.Config{parseRule(t, rule)})
		var got []string
		for _, name := range []string{"a", "__meta_x", "__meta_y"} {
			if r.has(name) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s reads %v, want %s", rule, got, want)
		}
	}
}

func TestReadsCover(t *testing.T) {
	of := func(rules ...string) *reads {
		r := newReads()
		for _, rule := range rules {
			r.add([]*relabel.Config{parseRule(t, rule)})
		}
		return r
	}
	named, mapped, wide := `{source_labels: [__meta_x], target_label: x}`, `{action: labelmap, regex: '__meta_(x|y)'}`,
		`{action: labelmap}`
	for _, c := range []struct {
		a, b *reads
		want bool
	}{
		{of(named), of(), true}, {of(), of(named), false}, {of(mapped), of(named), true}, {of(named), of(mapped),
			false},
		{of(wide), of(named), true}, {of(named, mapped), of(mapped), true}, {of(named), of(named), true},
	} {
		if got := c.a.covers(c.b); got != c.want {
			t.Errorf("%v covers %v: %v", c.a, c.b, got)
		}
	}
}
