package apiserver

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/faultlist"
)

// Server is an API server. Safe for concurrent use.
type Server struct {
	mu       sync.Mutex // guards the following; not held while something waits
	rnd      *rand.Rand
	store    store
	faults   faultlist.List[Fault]
	frozen   *store // what Stale shows; nil: store
	streams  bool
	watches  []*watch // in the order in which they began
	requests map[string]int
	closed   bool
}

// New returns a server without pods.
func New(seed uint64) *Server {
	return &Server{
		rnd:   chance.Seeded(seed).Of("apiserver").Rand(),
		store: store{version: 1, oldest: 1, pods: map[string]*object{}}, streams: true, requests: map[string]int{},
	}
}

// SetStreams says whether lists can be streamed as watches, as in Kubernetes 1.34. Otherwise such requests are refused.
func (s *Server) SetStreams(streams bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams = streams
}

// Put adds or changes a pod.
func (s *Server) Put(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.put(pod)
	s.wakeWatches()
}

// Remove removes a pod, if it is there.
func (s *Server) Remove(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store.remove(namespace + "/" + name) {
		s.wakeWatches()
	}
}

// Pods returns the pods by namespace and name. They must not be changed.
func (s *Server) Pods() (pods []*corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.store.sorted() {
		pods = append(pods, o.pod)
	}
	return pods
}

// Compact forgets the history.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.compact()
}

// Rewind loses the last changes, and cuts the watches. The resource version goes back until the next change. Changes of
// pods that live have to be Put again.
func (s *Server) Rewind(versions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.rewind(versions)
	s.cut()
}

// Cut ends the watches, as a proxy in front of the server does.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut()
}

// Requests returns how many requests there were, by "list", "page", "watch", "stream", "get" and "other".
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.requests)
}

// Watches returns the number of open watches.
func (s *Server) Watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watches)
}

// Fault is what is wrong with the server.
type Fault struct {
	Kind   Kind
	Delay  time.Duration // of Slow
	Status int           // of Refuse
	After  time.Duration // of Refuse: Retry-After, in whole seconds; 0: none
}

// Kind is the kind of a fault.
type Kind uint8

const (
	Away   Kind = iota + 1 // connections are closed without an answer, watches are cut
	Slow                   // answers come after a delay
	Refuse                 // answers are a status such as 403, 429 or 500
	Half                   // half an answer, then the connection closes
	Stale                  // lists and watches show what was there when the fault began
	Silent                 // open watches send no changes and no bookmarks; a new watch still sends its first pods
)

// Begin begins a fault. An earlier one of the same name ends.
func (s *Server) Begin(name string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.Begin(name, f)
	s.thaw()
	switch f.Kind {
	case Stale:
		if s.frozen == nil {
			s.frozen = s.store.clone()
		}
	case Away, Half:
		s.cut()
	}
}

// End ends the fault with a name. It does nothing if there is none.
func (s *Server) End(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.End(name)
	s.thaw()
	s.wakeWatches()
}

// thaw shows the present pods, unless a fault shows older ones. The caller holds mu.
func (s *Server) thaw() {
	if _, stale := s.has(Stale); !stale {
		s.frozen = nil
	}
}

// has returns the fault of a kind that began last. The caller holds mu.
func (s *Server) has(kind Kind) (last Fault, there bool) {
	for f := range s.faults.All() {
		if f.Kind == kind {
			last, there = f, true
		}
	}
	return last, there
}

// shown returns the store that requests see. The caller holds mu.
func (s *Server) shown() *store {
	if s.frozen != nil {
		return s.frozen
	}
	return &s.store
}

// wakeWatches has each watch look for changes. The caller holds mu.
func (s *Server) wakeWatches() {
	for _, w := range s.watches {
		w.wake()
	}
}

// cut ends the watches. The caller holds mu.
func (s *Server) cut() {
	for _, w := range s.watches {
		w.cut = true
		w.wake()
	}
}

// Serve answers requests until the listener is closed. No connection or goroutine is left when it returns.
func (s *Server) Serve(l net.Listener) {
	var conns sync.WaitGroup
	server := &http.Server{
		Handler: s, ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
	}
	_ = server.Serve(l)
	s.mu.Lock()
	s.closed = true
	s.cut()
	s.mu.Unlock()
	_ = server.Close()
	conns.Wait()
	s.mu.Lock()
	s.closed = false // Serve may be called again
	s.mu.Unlock()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, kind := r.URL.Query(), "other"
	namespace, name, isPods := cutPath(r.URL.Path)
	switch {
	case isPods && name != "":
		kind = "get"
	case isPods && q.Get("sendInitialEvents") == "true":
		kind = "stream"
	case isPods && q.Get("watch") != "":
		kind = "watch"
	case isPods && q.Get("continue") != "":
		kind = "page"
	case isPods:
		kind = "list"
	}
	s.mu.Lock()
	s.requests[kind]++
	slow, _ := s.has(Slow)
	s.mu.Unlock()
	if !wait(r.Context(), slow.Delay) {
		return
	}
	s.mu.Lock()
	_, away := s.has(Away)
	_, half := s.has(Half)
	refuse, refused := s.has(Refuse)
	s.mu.Unlock()
	sel, err := selectorOf(namespace, q.Get("labelSelector"), q.Get("fieldSelector"))
	out := &output{ResponseWriter: w, half: half}
	switch {
	case away:
		panic(http.ErrAbortHandler)
	case refused:
		if refuse.After > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(refuse.After/time.Second)))
		}
		out.status(refuse.Status, reasonOf(refuse.Status), "the server refuses "+kind)
	case r.Method != http.MethodGet:
		out.status(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "only GET")
	case r.URL.Path == "/version":
		out.json(http.StatusOK, []byte(`{"major":"1","minor":"34"}`))
	case !isPods:
		out.status(http.StatusNotFound, metav1.StatusReasonNotFound, "there is no such resource")
	case err != nil:
		out.status(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
	case kind == "get":
		s.get(out, namespace+"/"+name)
	case kind == "stream", kind == "watch":
		s.watch(out, r, sel)
	default:
		s.list(out, r, sel)
	}
}

// cutPath splits /api/v1/pods and /api/v1/namespaces/NAMESPACE/pods[/NAME].
func cutPath(path string) (namespace, name string, isPods bool) {
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if !ok {
		return "", "", false
	}
	parts := strings.Split(rest, "/")
	switch {
	case len(parts) == 1 && parts[0] == "pods":
		return "", "", true
	case len(parts) == 3 && parts[0] == "namespaces" && parts[2] == "pods":
		return parts[1], "", true
	case len(parts) == 4 && parts[0] == "namespaces" && parts[2] == "pods":
		return parts[1], parts[3], true
	}
	return "", "", false
}

func selectorOf(namespace, byLabel, byField string) (s selector, err error) {
	s.namespace = namespace
	if s.labels, err = labels.Parse(byLabel); err != nil {
		return s, err
	}
	s.fields, err = fields.ParseSelector(byField)
	return s, err
}

// wait returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// output is an answer.
type output struct {
	http.ResponseWriter
	half bool // only half of it
}

// json sends a whole answer.
func (o *output) json(status int, body []byte) {
	o.Header().Set("Content-Type", "application/json")
	o.Header().Set("Content-Length", strconv.Itoa(len(body)))
	o.WriteHeader(status)
	if o.half {
		_, _ = o.Write(body[:len(body)/2])
		_ = http.NewResponseController(o.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = o.Write(body)
}

func (o *output) status(code int, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) {
	o.json(code, statusOf(code, reason, message, causes...))
}

func statusOf(code int, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) []byte {
	s := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: message,
	}
	if len(causes) > 0 {
		s.Details = &metav1.StatusDetails{Causes: causes}
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

func reasonOf(status int) metav1.StatusReason {
	switch status {
	case http.StatusForbidden:
		return metav1.StatusReasonForbidden
	case http.StatusUnauthorized:
		return metav1.StatusReasonUnauthorized
	case http.StatusTooManyRequests:
		return metav1.StatusReasonTooManyRequests
	case http.StatusGone:
		return metav1.StatusReasonExpired
	}
	return metav1.StatusReasonInternalError
}
