package simulate

import (
	"fmt"
	"log/slog"
	oldrand "math/rand"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/apiserver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/cluster"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

const (
	apiHost = "10.0.2.2"
	apiPort = "6443"
)

// kubernetes is the cluster of a run whose agents discover pods through an API server.
type kubernetes struct {
	world    *world
	api      *apiserver.Server
	cluster  *cluster.Cluster
	labelMap bool // targets have the labels of their pods; otherwise the rules drop these
	random   *rand.Rand
	outages  int           // faults that keep the API server down
	host     *network.Host // of the API server
	serving  sync.WaitGroup
	lost     time.Time // when the last node lost its power

	// world.mu guards the following.
	pods map[*cluster.Pod]*pod // that have run and that the API server shows
}

// prepareClientGo makes runs of client-go repeat. It draws its pauses and the lives of its watches from the global
// source of math/rand, which gets the seed of the run. Its handlers of errors pause until a time that they compare with
// the start of the process, which is no time of a bubble, so there are none. Its log is not read.
func prepareClientGo(seed chance.Source) {
	//lint:ignore SA1019 client-go takes no source of its own
	oldrand.Seed(seed.Rand().Int64())
	utilruntime.ErrorHandlers = nil
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
}

// newKubernetes returns a cluster without pods, whose API server runs.
func newKubernetes(w *world) *kubernetes {
	prepareClientGo(chance.Seeded(w.opts.Seed).Of("client-go"))
	random := chance.Seeded(w.opts.Seed).Of("kubernetes").Rand()
	k := &kubernetes{world: w, outages: 1, api: apiserver.New(w.opts.Seed), random: random,
		labelMap: random.IntN(2) == 0, pods: map[*cluster.Pod]*pod{}}
	k.api.SetStreams(random.IntN(2) == 0)
	k.cluster = cluster.New(cluster.Options{Network: w.network, API: k.api, Seed: w.opts.Seed, Series: w.opts.Series,
		Changed: k.changed, Served: k.served, Refused: func(p *cluster.Pod, err error) {
			w.problem("%s refused a request: %v", p.Name, err)
		}})
	w.oracle.NameBy(k.nameOf)
	k.up()
	return k
}

// config returns the discovery and the rules of the job, as the documentation of Istio has them. A finished pod keeps
// its address, which another pod may have by now, so the rules drop it.
func (k *kubernetes) config() string {
	action := "labeldrop"
	if k.labelMap {
		action = "labelmap"
	}
	return fmt.Sprintf(`  kubernetes_sd_configs:
  - role: pod
    api_server: http://%s
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_port_name], regex: '.*-envoy-prom', action: keep}
  - {source_labels: [__meta_kubernetes_pod_phase], regex: 'Succeeded|Failed', action: drop}
  - source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
    regex: '([^:]+)(?::\d+)?;(\d+)'
    replacement: '$1:15090'
    target_label: __address__
  - {regex: '__meta_kubernetes_pod_label_(.+)', action: %s}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}
`, net.JoinHostPort(apiHost, apiPort), action)
}

// nameOf returns the oracle's name for the target of a series: "cart-7d4b9c-00007 10.1.0.9:15090 2". A pod with another
// address or, if targets have the labels of pods, with other labels, is another target.
func (k *kubernetes) nameOf(series labels.Labels) string {
	return targetName(series.Get("pod_name"), series.Get("instance"), series.Get("track"))
}

func targetName(pod, address, track string) string {
	name := pod + " " + address
	if track != "" {
		name += " " + track
	}
	return name
}

// up starts the API server, unless another fault keeps it down. It has no history.
func (k *kubernetes) up() {
	if k.outages--; k.outages > 0 {
		return
	}
	k.host = k.world.network.Host(apiHost)
	l, err := k.host.Listen("tcp", ":"+apiPort)
	if err != nil {
		panic(err) // the host is new
	}
	k.api.Compact()
	k.serving.Go(func() { k.api.Serve(l) })
}

// down kills the process of the API server. What it shows stays.
func (k *kubernetes) down() {
	if k.outages++; k.outages == 1 {
		k.host.Kill()
		k.serving.Wait()
	}
}

// close ends all processes.
func (k *kubernetes) close() {
	k.down()
	k.cluster.Close()
}

// start starts a pod.
func (k *kubernetes) start() { k.cluster.Start(fmt.Sprint("app-", k.random.IntN(7))) }

// delete deletes a pod.
func (k *kubernetes) delete(p *cluster.Pod) {
	k.cluster.Delete(p, time.Duration(1+k.random.IntN(30))*time.Second)
}

// deleteAll deletes all pods.
func (k *kubernetes) deleteAll() {
	k.world.trace.add("requests to the API server: %v", k.api.Requests())
	for _, p := range k.cluster.Pods() {
		k.cluster.Delete(p, 10*time.Second)
	}
}

// loseNode takes the power of a node away, unless another one may be without, and starts other pods for those of it.
func (k *kubernetes) loseNode(chance *rand.Rand) {
	if !k.lost.IsZero() && time.Since(k.lost) < mostLost {
		return
	}
	k.lost = time.Now()
	n := len(k.world.livePods())
	k.cluster.Lose(chance.IntN(3))
	for range n - len(k.world.livePods()) {
		k.start()
	}
}

// changed follows the pods of the cluster.
func (k *kubernetes) changed(p *cluster.Pod, state cluster.State) {
	w := k.world
	w.trace.add("%s is %v", p.Name, state)
	w.mu.Lock()
	known := k.pods[p]
	w.mu.Unlock()
	switch state {
	case cluster.Pending:
	case cluster.Running, cluster.Terminating:
		if known == nil {
			if state == cluster.Running {
				k.born(p)
			}
		} else {
			k.rename(known)
		}
	case cluster.Lost:
		if known != nil {
			w.removePod(known)
			w.disturb(known.name, mostLost)
		}
	case cluster.Ended, cluster.Failed, cluster.Succeeded, cluster.Gone:
		if known != nil {
			w.removePod(known)
			w.oracle.Gone(known.name)
		}
	}
	if state == cluster.Gone {
		w.mu.Lock()
		delete(k.pods, p)
		w.mu.Unlock()
	}
}

// mostLost is how long the API server shows the pods of a node without power at most.
const mostLost = 7 * time.Minute

// born adds a pod that has begun to run.
func (k *kubernetes) born(of *cluster.Pod) {
	w := k.world
	p := &pod{workload: of.Workload, of: of}
	p.addr, _, _ = net.SplitHostPort(of.Address())
	p.envoy, p.host = of.Process()
	p.name = k.targetOf(p)
	w.mu.Lock()
	k.pods[of] = p
	w.pods = append(w.pods, p)
	w.mu.Unlock()
	w.oracle.Born(p.name, discoveredTargets(of.Shown())...)
}

// rename gives a pod whose labels have changed another name, if its target has those labels.
func (k *kubernetes) rename(p *pod) {
	w := k.world
	before, name := p.name, k.targetOf(p)
	if name == before {
		return
	}
	w.mu.Lock()
	p.name = name
	w.mu.Unlock()
	w.oracle.Renamed(before, name, discoveredTargets(p.of.Shown())...)
}

func (k *kubernetes) targetOf(p *pod) string {
	track := ""
	if k.labelMap {
		track = p.of.Shown().Labels["track"]
	}
	return targetName(p.of.Name, p.address(), track)
}

// served passes a page on to the oracle.
func (k *kubernetes) served(of *cluster.Pod, page *sidecar.Page) {
	w := k.world
	w.mu.Lock()
	name := of.Name
	if p := k.pods[of]; p != nil {
		name = p.name
	}
	w.mu.Unlock()
	w.notePage(name, page)
}
