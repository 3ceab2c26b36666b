package simulate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/cluster"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// Addresses: pods 10.1.0.0/16, agents 10.0.1.0/24, discovery 10.0.2.1, API server 10.0.2.2, receivers 10.0.3.0/24.
const (
	discoveryAddress = "10.0.2.1:80"
	sidecarPort      = ":15090"
)

// allReceivers are the names of the receivers. Faults happen to those of receiverNames.
var (
	allReceivers  = [...]string{"a", "b", "c"}
	receiverNames = allReceivers[:2]
)

func receiverAddress(name string) string { return fmt.Sprintf("10.0.3.%d", name[0]-'a'+1) }

// world is everything outside the agents, and the agents.
type world struct {
	opts         options
	network      *network.Network
	oracle       *oracle.Oracle
	trace        *trace
	logs         *logs
	receivers    map[string]*receiver.Receiver
	certificates *certificates
	agents       []*runner
	revision     revision  // of the file of all agents
	configured   *revision // the oracle's current revision
	signs        signs
	lossesBefore lossesBefore
	happened     map[string]int // faults so far, by kind
	present      map[string]int // faults that have begun and not ended, by kind
	events       []event        // still to come, sorted by time
	urgent       chan func()    // what run's goroutine has to do at once, before the next event
	born         int            // pods started so far
	free         []string       // addresses that a pod had
	births       *rand.Rand
	reloads      *rand.Rand
	bad          *badFile // what is wrong with the file of all agents; nil: nothing
	resharding   bool     // the number of agents changes

	visitor    *visitor
	kubernetes *kubernetes // nil: pods come from the HTTP discovery
	discovery  *http.Server
	discovered chan error

	mu             sync.Mutex // guards the following
	pods           []*pod     // that live, sorted by birth
	discoveryFault discoveryFault
	discoveryConns map[net.Conn]bool // open connections to the discovery
	problems       []string
}

// discoveryFault is what is wrong with the discovery.
type discoveryFault int

const (
	discoveryWell discoveryFault = iota
	discoveryFails
	discoveryHalf
	discoveryHangs
)

// pod is a pod with its sidecar.
type pod struct {
	name           string // for the oracle
	workload, addr string
	envoy          *sidecar.Envoy
	host           *network.Host
	listener       net.Listener  // nil: the pod is of a cluster
	ended          chan struct{} // as listener
	of             *cluster.Pod  // nil: the pod is of the HTTP discovery
	born           time.Time
}

func newWorld(o options) (*world, error) {
	w := &world{
		opts: o, network: network.New(o.Seed), oracle: oracle.New(allReceivers[:]...), trace: newTrace(o),
		logs: &logs{}, receivers: map[string]*receiver.Receiver{}, happened: map[string]int{},
		present: map[string]int{}, urgent: make(chan func(), 16),
		revision: revision{minLanes: 1, maxLanes: 4}, births: chance.Seeded(o.Seed).Of("births").Rand(),
		reloads: chance.Seeded(o.Seed).Of("reloads").Rand(), discovered: make(chan error, 1),
		discoveryConns: map[net.Conn]bool{},
	}
	var err error
	if w.certificates, err = newCertificates(o); err != nil {
		return nil, err
	}
	for _, name := range allReceivers {
		r := receiver.New(name, w.oracle.Sink(name), func(line string) { w.trace.add("%s", line) })
		host := w.network.Host(receiverAddress(name))
		l, err := host.Listen("tcp", ":9090")
		if err != nil {
			return nil, err
		}
		if name == secured {
			l = w.certificates.listen(l, host, w.problem)
		}
		r.Start(l)
		w.receivers[name] = r
	}
	host, port, _ := net.SplitHostPort(discoveryAddress)
	l, err := w.network.Host(host).Listen("tcp", ":"+port)
	if err != nil {
		return nil, err
	}
	w.discovery = &http.Server{Handler: http.HandlerFunc(w.serveTargets), ReadHeaderTimeout: time.Minute,
		ConnState: w.noteDiscoveryConn}
	go func() { w.discovered <- w.discovery.Serve(l) }()
	w.visitor = newVisitor(w)
	if o.Kubernetes {
		w.kubernetes = newKubernetes(w)
	}
	for range o.Pods {
		if err := w.birth(); err != nil {
			return nil, err
		}
	}
	for n := range max(1, o.Agents) {
		w.agents = append(w.agents, newRunner(w, n))
	}
	return w, nil
}

// birth starts a pod, at an address that a pod had if there is one.
func (w *world) birth() error {
	if w.kubernetes != nil {
		w.kubernetes.start()
		return nil
	}
	n := w.born
	w.born++
	p := &pod{name: fmt.Sprintf("pod-%d-%04x", n, w.births.Uint32N(1<<16)), workload: fmt.Sprint("app-", n%7),
		addr: fmt.Sprintf("10.1.%d.%d", n/200, n%200+1), ended: make(chan struct{}), born: time.Now()}
	if len(w.free) > 0 && w.births.IntN(2) == 0 {
		p.addr, w.free = w.free[0], w.free[1:]
	}
	p.host = w.network.Host(p.addr)
	var err error
	if p.listener, err = p.host.Listen("tcp", sidecarPort); err != nil {
		return err
	}
	p.envoy = sidecar.New(sidecar.Options{Namespace: "mesh", Pod: p.name, Workload: p.workload,
		Series: w.opts.Series, Seed: w.opts.Seed, Served: func(page *sidecar.Page) { w.notePage(p.name, page) },
		Refused: func(err error) { w.problem("%s refused a request: %v", p.name, err) }})
	go func() {
		p.envoy.Serve(p.listener)
		close(p.ended)
	}()
	w.mu.Lock()
	w.pods = append(w.pods, p)
	w.mu.Unlock()
	w.oracle.Born(p.name, p.discoveredLabels())
	return nil
}

// notePage notes a page that a pod has answered with.
func (w *world) notePage(pod string, page *sidecar.Page) {
	w.trace.add("%s: status %d, fault %d, whole %v, %d samples", pod, page.Status, page.Fault, page.Whole,
		len(page.Samples))
	w.oracle.Served(pod, page)
}

// address returns the address of the sidecar, with its port.
func (p *pod) address() string { return p.addr + sidecarPort }

func (p *pod) discoveredLabels() labels.Labels {
	return labels.FromStrings("__address__", p.address(), "__meta_pod", p.name, "__meta_workload", p.workload,
		"__meta_url", "http://"+discoveryAddress+"/targets")
}

// death ends a pod. Its address is free.
func (w *world) death(p *pod) {
	if p.of != nil {
		w.kubernetes.delete(p.of)
		return
	}
	w.removePod(p)
	w.oracle.Gone(p.name)
	p.host.Kill()
	_ = p.listener.Close()
	<-p.ended
	w.free = append(w.free, p.addr)
}

func (w *world) removePod(p *pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods = slices.DeleteFunc(w.pods, func(other *pod) bool { return other == p })
}

// livePods returns the pods whose sidecars answer, in the order of their births.
func (w *world) livePods() []*pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.pods)
}

// deathOfAll ends all pods.
func (w *world) deathOfAll() {
	if w.kubernetes != nil {
		w.kubernetes.deleteAll()
		return
	}
	for _, p := range w.livePods() {
		w.death(p)
	}
}

// discoveryConfig returns the discovery of the job, and the rules that give the labels of pods to targets.
func (w *world) discoveryConfig() string {
	if w.kubernetes != nil {
		return w.kubernetes.config()
	}
	return fmt.Sprintf(`  http_sd_configs:
  - url: http://%s/targets
    refresh_interval: 5s
  relabel_configs:
  - {source_labels: [__meta_pod], target_label: pod}
  - {source_labels: [__meta_workload], target_label: app}
`, discoveryAddress)
}

// ruleOfWorkloads returns a rule of the job that keeps or drops the pods of workloads.
func (w *world) ruleOfWorkloads(workloads, action string) string {
	source, regex := "__meta_workload", workloads
	if w.kubernetes != nil {
		source, regex = "pod_name", workloads+"-.*"
	}
	return fmt.Sprintf("  - {source_labels: [%s], regex: %q, action: %s}\n", source, regex, action)
}

// serveTargets answers as an HTTP discovery: the pods that live.
func (w *world) serveTargets(rw http.ResponseWriter, req *http.Request) {
	w.mu.Lock()
	fault := w.discoveryFault
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	groups := []group{}
	for _, p := range w.pods {
		groups = append(groups, group{[]string{p.address()},
			map[string]string{"__meta_pod": p.name, "__meta_workload": p.workload}})
	}
	w.mu.Unlock()
	body, err := json.Marshal(groups)
	if err != nil {
		panic(err)
	}
	switch fault {
	case discoveryFails:
		http.Error(rw, "fault", http.StatusInternalServerError)
		return
	case discoveryHangs:
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	case discoveryHalf:
		body = body[:len(body)/2]
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = rw.Write(body)
}

// noteDiscoveryConn keeps account of the open connections to the discovery.
func (w *world) noteDiscoveryConn(c net.Conn, state http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if state == http.StateClosed {
		delete(w.discoveryConns, c)
	} else {
		w.discoveryConns[c] = true
	}
}

// discoveryConnections returns how many connections of a host are open at the discovery. An agent leaves them open when
// it stops (package agent).
func (w *world) discoveryConnections(host string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.discoveryConns {
		if from, _, err := net.SplitHostPort(c.RemoteAddr().String()); err == nil && from == host {
			n++
		}
	}
	return n
}

func (w *world) setDiscovery(f discoveryFault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discoveryFault = f
}

// close ends the receivers and the discovery. Agents and pods have ended before.
func (w *world) close() {
	for _, name := range allReceivers {
		if err := w.receivers[name].Close(); err != nil {
			w.problem("close receiver %s: %v", name, err)
		}
	}
	_ = w.discovery.Close()
	<-w.discovered
	if w.kubernetes != nil {
		w.kubernetes.close()
		time.Sleep(time.Minute) // client-go ends when it would have tried again
	}
}

func (w *world) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, time.Now().UTC().Format("02 15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// found returns all problems so far: those of the world, of the oracle and of the receivers.
func (w *world) found() []string {
	w.mu.Lock()
	all := slices.Clone(w.problems)
	w.mu.Unlock()
	all = append(all, w.oracle.Problems()...)
	for _, name := range allReceivers {
		all = append(all, w.receivers[name].Problems()...)
	}
	return all
}
