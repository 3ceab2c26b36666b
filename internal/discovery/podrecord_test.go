package discovery

import (
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// injectedPod is a pod with a native sidecar, as Istio's injector makes it.
func injectedPod(name, ip string) corev1.Pod {
	yes := true
	pod := sidecarPod(name, ip)
	pod.Annotations = map[string]string{statusKey: "{}"}
	pod.Labels = map[string]string{revisionKey: "default"}
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-7f9c", Controller: &yes}}
	pod.Spec.InitContainers, pod.Spec.Containers = pod.Spec.Containers, []corev1.Container{{Name: "app"}}
	pod.Spec.NodeName = "node-1"
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return pod
}

func TestRecordOfAPod(t *testing.T) {
	whole := injectedPod("web-1", "10.0.0.1")
	want := PodRecord{
		Namespace: "shop", Name: "web-1", IP: "10.0.0.1", Node: "node-1", Controller: "ReplicaSet/web-7f9c",
		Phase: "Running", Ready: true, Injected: true, Asks: true, Proxy: "istio-proxy", ProxyInit: true,
		Ports: []ProxyPort{{"http-envoy-prom", 15090}},
	}
	if got := RecordOf(&whole); !reflect.DeepEqual(got, want) {
		t.Errorf("record = %+v\nwant %+v", got, want)
	}
	if !want.Declares(15090) || want.Declares(15020) || want.Finished() {
		t.Error("wrong answers about ports or phase")
	}
}

func TestWhichPodsHaveARecord(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"no sidecar":  {func(p *corev1.Pod) {}, false},
		"istio-proxy": {func(p *corev1.Pod) { p.Spec.Containers[0].Name = "istio-proxy" }, true},
		"init container": {func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy"}} },
			true},
		"named port": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "envoy-prom"}}
		}, true},
		"asks by a label": {func(p *corev1.Pod) { p.Labels = map[string]string{injectKey: "true"} }, true},
		"asks by an annotation": {func(p *corev1.Pod) { p.Annotations = map[string]string{injectKey: "true"} },
			true},
		"asks for a revision": {func(p *corev1.Pod) { p.Labels = map[string]string{revisionKey: "canary"} }, true},
		"refuses, with a revision": {func(p *corev1.Pod) {
			p.Labels = map[string]string{revisionKey: "x",
				injectKey: "false"}
		}, false},
		"ztunnel, by its port": {func(p *corev1.Pod) {
			p.Spec.Containers[0] = corev1.Container{Name: "istio-proxy",
				Ports: []corev1.ContainerPort{{Name: "ztunnel-stats", ContainerPort: 15020}}}
		}, false},
		"ztunnel, by its arguments": {func(p *corev1.Pod) {
			p.Spec.Containers[0] = corev1.Container{Name: "istio-proxy", Args: []string{"proxy", "ztunnel"}}
		}, false},
		"was injected": {func(p *corev1.Pod) { p.Annotations = map[string]string{statusKey: "{}"} }, true},
	} {
		pod := corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
		c.change(&pod)
		if got := newPodRecord(&pod) != nil; got != c.want {
			t.Errorf("%s: has a record: %v, want %v", name, got, c.want)
		}
	}
}

// TestRecordsAreOfWholePods: the rules of the job read nothing of what a record holds.
func TestRecordsAreOfWholePods(t *testing.T) {
	for name, streams := range map[string]bool{"listed": false, "streamed": true} {
		t.Run(name, func(t *testing.T) { checkRecords(t, streams) })
	}
}

func checkRecords(t *testing.T, streams bool) {
	api := newFakeAPI(t)
	api.streams = streams
	bare := sidecarPod("bare", "10.0.0.3")
	bare.Spec.Containers[0] = corev1.Container{Name: "app"}
	api.pods = append(api.pods, injectedPod("web-2", "10.0.0.2"), injectedPod("web-1", "10.0.0.1"), bare)
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, api.podJob(t, "a"), api.podJob(t, "b"))
	h.start(t)
	eventually(t, "records", func() bool { return len(h.Pods()) == 2 })
	for i, r := range h.Pods() {
		whole := injectedPod(fmt.Sprintf("web-%d", i+1), fmt.Sprintf("10.0.0.%d", i+1))
		if want := RecordOf(&whole); !reflect.DeepEqual(r, want) {
			t.Errorf("record = %+v\nwant %+v", r, want)
		}
	}
	if n := api.count("list pods"); streams && n > 2 {
		t.Errorf("%d lists: the pods were not streamed", n)
	}
	scopes := h.Scopes()
	if len(scopes) != 2 || !scopes[0].Records || scopes[0].Job != "a" || len(scopes[0].Denied) != 0 {
		t.Errorf("scopes = %+v", scopes)
	}
}

func TestLookAnswersAfterwards(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, injectedPod("web-1", "10.0.0.1"))
	m, updates, err := Look(t.Context(), []*promconfig.ScrapeConfig{api.podJob(t, "a")})
	if err != nil {
		t.Fatal(err)
	}
	if u := updates["a"]; !u.Whole || len(u.Groups) != 1 || u.Groups[0].Labels[podPrefix+"node_name"] != "node-1" {
		t.Errorf("updates = %+v", updates)
	}
	if pods := m.Pods(); len(pods) != 1 || pods[0].Name != "web-1" {
		t.Errorf("pods = %+v", pods)
	}
	if s := m.Scopes(); len(s) != 1 || !s[0].Records {
		t.Errorf("scopes = %+v", s)
	}
}

// TestLookGoesOnWithoutSomeNamespaces: what may not be listed is said, and the rest is shown.
func TestLookGoesOnWithoutSomeNamespaces(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, injectedPod("web-1", "10.0.0.1"))
	api.refuse["/api/v1/namespaces/pay/pods"] = http.StatusForbidden
	job := api.podJob(t, "a")
	job.ServiceDiscoveryConfigs[0].(*kubernetes.SDConfig).NamespaceDiscovery.Names = []string{"shop", "pay"}
	jobs := []*promconfig.ScrapeConfig{job}
	m, _, err := Look(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	s := m.Scopes()[0]
	if len(m.Pods()) != 1 || !strings.Contains(s.Denied["pay"], "may not list pods in namespace pay") ||
		s.Denied["shop"] != "" {
		t.Errorf("pods %+v, scope %+v", m.Pods(), s)
	}
	if _, err := Once(t.Context(), jobs); err == nil {
		t.Error("Once went on")
	}
	api.set(func(f *fakeAPI) { f.refuse["/api/v1/namespaces/shop/pods"] = http.StatusForbidden })
	if _, _, err := Look(t.Context(), jobs); err == nil || !strings.Contains(err.Error(), "may not list pods in "+
		"namespace") {
		t.Errorf("no namespace may be listed: %v", err)
	}
}

func TestAskingForOnePod(t *testing.T) {
	api := newFakeAPI(t)
	h := newHarness(t, zap.NewNop())
	if _, err := h.Pod(t.Context(), "shop", "web-1"); err == nil || !strings.Contains(err.Error(), "no API server "+
		"to ask") {
		t.Errorf("without a job: %v", err)
	}
	apply(t, h.Manager, api.podJob(t, "a"))
	for name, c := range map[string]struct {
		status int
		pod    string
		want   string
	}{
		"found":     {0, "web-1", ""},
		"forbidden": {http.StatusForbidden, "web-1", "may not get pod shop/web-1 (403 Forbidden: "},
		"unknown":   {http.StatusNotFound, "web-1", "there is no such pod: "},
		"token":     {http.StatusUnauthorized, "web-1", "does not accept our credentials"},
		"broken":    {http.StatusInternalServerError, "web-1", "ask the API server"},
		"a path":    {0, "../../nodes", "is not the name of a pod"},
		"dots":      {0, "..", "is not the name of a pod"},
		"none":      {0, "", "is not the name of a pod"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := injectedPod("web-1", "10.0.0.1")
			api.set(func(f *fakeAPI) {
				f.one = &pod
				f.refuse = map[string]int{"list web-1": c.status}
			})
			got, err := h.Pod(t.Context(), "shop", c.pod)
			switch {
			case c.want == "" && (err != nil || got.Spec.NodeName != "node-1"):
				t.Errorf("pod = %v, error %v", got, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestScopeMissesPods(t *testing.T) {
	pod := injectedPod("web-1", "10.0.0.1")
	for name, c := range map[string]struct {
		scope PodScope
		miss  Miss
		want  string
	}{
		"all":           {PodScope{}, Sees, ""},
		"namespace":     {PodScope{Namespaces: []string{"pay"}}, MissesNamespace, "looks in namespace pay only"},
		"its namespace": {PodScope{Namespaces: []string{"pay", "shop"}}, Sees, ""},
		"label":         {PodScope{Label: "app=x"}, MissesSelector, "asks for pods with labels app=x only"},
		"its label":     {PodScope{Label: "istio.io/rev in (default,canary)"}, Sees, ""},
		"node": {PodScope{Field: "spec.nodeName=node-2"}, MissesNode,
			"asks for pods with spec.nodeName=node-2 only"},
		"node and phase": {PodScope{Field: "spec.nodeName=node-2,status.phase=Failed"}, MissesSelector,
			"asks for pods with spec.nodeName=node-2,status.phase=Failed only"},
		"phase": {PodScope{Field: "status.phase=Failed"}, MissesSelector,
			"asks for pods with status.phase=Failed only"},
		"its field":      {PodScope{Field: "spec.nodeName=node-1,status.phase!=Failed"}, Sees, ""},
		"denied":         {PodScope{Denied: map[string]string{"shop": "may not"}}, MissesRights, "may not"},
		"denied, all":    {PodScope{Denied: map[string]string{"": "may not"}}, MissesRights, "may not"},
		"denied, others": {PodScope{Denied: map[string]string{"pay": "may not"}}, Sees, ""},
	} {
		if miss, got := c.scope.Misses(&pod); miss != c.miss || got != c.want {
			t.Errorf("%s: %d, %q, want %d, %q", name, miss, got, c.miss, c.want)
		}
	}
	if n := (PodScope{Field: "status.phase!=Failed,spec.nodeName=node-2"}).Node(); n != "node-2" {
		t.Errorf("node %q", n)
	}
}

// mostRecordBytes is how much memory the record of a pod may take.
const mostRecordBytes = 300

// TestMemoryOfRecords measures the records of 10,000 pods of 100 workloads on 50 nodes.
func TestMemoryOfRecords(t *testing.T) {
	const pods = 10_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	records := make([]*podRecord, pods)
	before := heap()
	for i := range records {
		pod := injectedPod(fmt.Sprintf("web-%d", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		pod.OwnerReferences[0].Name = fmt.Sprintf("web-%d-7f9c", i%100)
		pod.Spec.NodeName = fmt.Sprintf("ip-10-0-%d-1.eu-central-1.compute.internal", i%50)
		records[i] = newPodRecord(&pod)
	}
	each := float64(heap()-before)/pods + 8 // the pointer
	runtime.KeepAlive(records)
	t.Logf("%.0f bytes for each pod", each)
	if each > mostRecordBytes {
		t.Errorf("%.0f bytes for each pod, want at most %d", each, mostRecordBytes)
	}
}
