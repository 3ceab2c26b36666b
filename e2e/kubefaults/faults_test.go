package kubefaults

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMain runs more scenarios in parallel than there are processors, because they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestFaults(t *testing.T) {
	s := newSuite(t)
	t.Run("parallel", func(t *testing.T) {
		for name, scenario := range map[string]func(*world){
			"K1 down at start":             downAtStart,
			"K2 down while running":        downWhileRunning,
			"K3 watch ends at once":        func(w *world) { endingWatches(w, onWatch(expired)) },
			"K3 watch closed every second": func(w *world) { endingWatches(w, onWatch(w.closing(time.Second))) },
			"K4 410 in a paged list":       expiredPage,
			"K5 slow and busy":             slowAndBusy,
			"K6 token and CA rotated":      rotated,
			"K7 right taken away":          rightTakenAway,
			"K8 address used again":        addressUsedAgain,
			"K9 churn":                     churn,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				namespace := strings.Map(func(r rune) rune {
					if r == ' ' {
						return '-'
					}
					return r
				}, strings.ToLower(name))
				scenario(s.world(t, namespace))
			})
		}
	})
	t.Run("K2 server killed", func(t *testing.T) { serverKilled(s.world(t, "k2-killed")) })
}

// downAtStart starts the program without an API server. Jobs that do not need it are scraped, the process is not ready,
// and it continues as soon as the server is there.
func downAtStart(w *world) {
	w.proxy.down()
	w.launch()
	w.wait("the static target is scraped", func() error { return w.arrived(3, "") })
	w.checkReady(http.StatusServiceUnavailable)
	w.waitForServer(0)
	w.checkPage("unreachable", true)
	w.checkLogged(logUnreachable, 1)
	w.proxy.up()
	w.wait("the pods are targets", func() error { return w.targets("a", "b") })
	w.wait("the process is ready", func() error {
		if code, _, err := w.get("/-/ready"); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d, %v", code, err)
		}
		return nil
	})
	w.waitForServer(1)
	w.checkPage("unreachable", false)
	w.checkLogged(logReachable, 1)
	w.checkNoGap("")
	w.checkChangeIsSeen()
}

// downWhileRunning stops the API server. The last known targets stay.
func downWhileRunning(w *world) {
	w.start()
	w.proxy.down()
	w.waitForServer(0)
	w.checkPage("unreachable", true)
	w.waitForScrapes(3, "a", "b")
	w.checkReady(http.StatusOK)
	w.checkLogged(logUnreachable, 1)
	w.proxy.up()
	w.waitForServer(1)
	w.checkChangeIsSeen()
	w.checkLogged(logUnreachable, 1)
	w.checkLogged(logReachable, 1)
}

// serverKilled kills the real API server, whose caches are empty after the restart. The last known targets stay.
func serverKilled(w *world) {
	w.start()
	w.cluster.KillServer()
	w.waitForServer(0)
	w.waitForScrapes(3, "a", "b")
	if err := w.cluster.StartServer(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.waitForServer(1)
	w.checkChangeIsSeen()
	w.checkLogged(logUnreachable, 1)
}

// closing returns a fault that ends each watch after a while, as a server or a load balancer does.
func (w *world) closing(after time.Duration) fault {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		timer := time.AfterFunc(after, w.proxy.cut)
		defer timer.Stop()
		w.proxy.upstream.ServeHTTP(rw, r)
		return true
	}
}

// endingWatches ends every watch for ten seconds. The program must not send too many new requests.
func endingWatches(w *world, f fault) {
	w.start()
	before := w.proxy.requests("watch") + w.proxy.requests("list")
	w.proxy.set(f)
	w.proxy.cut()
	w.waitForScrapes(10, "a", "b")
	// client-go without a limit begins thousands
	if n := w.proxy.requests("watch") + w.proxy.requests("list") - before; n > 60 {
		w.Errorf("%d lists and watches in about ten seconds, want at most 60", n)
	}
	w.proxy.set(nil)
	w.checkReady(http.StatusOK)
	w.checkChangeIsSeen()
}

// expiredPage lets the version of a paged list expire (410 Gone) between two of its pages.
func expiredPage(w *world) {
	var pages, refused atomic.Int32
	w.proxy.set(func(rw http.ResponseWriter, r *http.Request) bool {
		q := r.URL.Query()
		switch {
		case kindOf(r) == "question":
			return false
		case q.Get("sendInitialEvents") != "": // an old server does not support streamed lists
			answer(rw, http.StatusUnprocessableEntity, "Invalid", "sendInitialEvents is forbidden for watch")
			return true
		case q.Get("watch") != "":
			return false
		case q.Get("continue") != "":
			refused.Add(1)
			answer(rw, http.StatusGone, "Expired", "the provided continue parameter is too old")
			return true
		case q.Get("limit") != "":
			pages.Add(1)
			q.Set("limit", "1")
			q.Del("resourceVersion") // the server answers a list with a version from its cache, without pages
			q.Del("resourceVersionMatch")
			r.URL.RawQuery = q.Encode()
		}
		return false
	})
	w.start()
	if pages.Load() == 0 || refused.Load() == 0 {
		w.Errorf("%d first pages, %d next pages refused: the fault did not happen", pages.Load(), refused.Load())
	}
	w.checkChangeIsSeen()
}

// slowAndBusy delays answers by three seconds, and then answers 429 with Retry-After.
func slowAndBusy(w *world) {
	w.proxy.set(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-time.After(3 * time.Second):
		case <-r.Context().Done():
		}
		return false
	})
	w.launch()
	w.wait("the pods are targets", func() error { return w.targets("a", "b") })
	w.wait("both are read", func() error { return w.arrived(1, "a", "b") })
	var asked atomic.Int32
	w.proxy.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if kindOf(r) != "question" {
			asked.Add(1)
		}
		rw.Header().Set("Retry-After", "1")
		answer(rw, http.StatusTooManyRequests, "TooManyRequests", "too many requests, please try again later")
		return true
	})
	w.proxy.cut()
	w.waitForScrapes(8, "a", "b")
	if n := asked.Load(); n == 0 || n > 40 {
		w.Errorf("%d requests in about eight seconds, although each answer has Retry-After: 1", n)
	}
	w.proxy.set(nil)
	w.checkReady(http.StatusOK)
	w.checkLogged(logUnreachable, 0)
	w.checkChangeIsSeen()
}

// rotated replaces the token and then the certificate. The program must read the files again without a restart.
func rotated(w *world) {
	w.start()
	next := "Bearer " + w.cluster.AdminToken()
	w.write("token", "worn-out")
	w.proxy.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == next {
			return false
		}
		answer(rw, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return true
	})
	w.proxy.cut()
	w.waitForServer(0)
	w.checkPage("denied", true)
	w.waitForScrapes(2, "a", "b")
	w.checkLogged(logUnauthorized, 1)
	w.write("token", w.cluster.AdminToken())
	w.waitForServer(1)
	w.checkChangeIsSeen()

	ca := w.proxy.newCertificate()
	w.proxy.cut()
	w.waitForServer(0)
	w.checkPage("certificate", true)
	w.waitForScrapes(2, "a", "b")
	w.checkLogged(logUnreachable, 1)
	w.write("ca.crt", string(ca))
	w.waitForServer(1)
	w.checkReady(http.StatusOK)
	w.checkChangeIsSeen()
	w.checkLogged(logUnauthorized, 1)
}

// rightTakenAway deletes the binding of the role and creates it again.
func rightTakenAway(w *world) {
	ctx, api := w.Context(), w.cluster.Admin()
	if _, err := api.CoreV1().ServiceAccounts(w.namespace).Create(ctx,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}},
	}}
	if _, err := api.RbacV1().Roles(w.namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	bind := func() {
		w.Helper()
		if _, err := api.RbacV1().RoleBindings(w.namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: "reader"}},
		}, metav1.CreateOptions{}); err != nil {
			w.Fatal(err)
		}
	}
	bind()
	token, err := w.cluster.Token(ctx, w.namespace, "reader")
	if err != nil {
		w.Fatal(err)
	}
	w.write("token", token)
	w.start()
	if err := api.RbacV1().RoleBindings(w.namespace).Delete(ctx, "reader", metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
	w.proxy.cut() // a running watch would continue
	w.waitForServer(0)
	w.checkPage("may not list pods in namespace "+w.namespace, true)
	w.waitForScrapes(3, "a", "b")
	w.checkReady(http.StatusOK)
	w.checkLogged(logForbidden, 1)
	bind()
	w.waitForServer(1)
	w.checkChangeIsSeen()
	w.checkLogged(logForbidden, 1)
}

// addressUsedAgain deletes a pod. Within a second another pod has its address.
func addressUsedAgain(w *world) {
	w.start()
	w.waitForScrapes(2, "a", "b")
	stop := w.watchTargets()
	w.remove("a")
	w.create("successor", w.host(0))
	w.wait("the successor is a target", func() error { return w.targets("successor", "b") })
	w.waitForScrapes(3, "successor", "b")
	stop()
	w.checkNoGap("successor", "b")

	w.wait("the old series are marked stale", func() error {
		if all := w.samples("a"); !value.IsStaleNaN(all[len(all)-1].value) {
			return fmt.Errorf("the last sample is %v", all[len(all)-1])
		}
		return nil
	})
	w.waitForScrapes(3, "successor")
	old, successor := w.samples("a"), w.samples("successor")
	markers := 0
	for _, s := range old {
		if value.IsStaleNaN(s.value) {
			markers++
		}
	}
	if markers != 1 {
		w.Errorf("%d staleness markers of the old pod's series, want one: %v", markers, old)
	}
	// The page numbers its scrapes. Each scrape belongs to one pod, and the old pod's scrapes come first.
	if last := old[len(old)-2]; last.value+1 != successor[0].value || last.at >= successor[0].at {
		w.Errorf("the last scrape of the old pod is %v, the first of the new pod %v", last, successor[0])
	}
}

// watchTargets polls the targets until the returned function is called. active fails the test if an address has two
// targets.
func (w *world) watchTargets() (stop func()) {
	quit := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				_, _ = w.active()
			}
		}
	})
	return func() { close(quit); looking.Wait() }
}

// churn creates and deletes two hundred pods. A few pods come and go before that, so that resources opened only once do
// not count as a leak.
func churn(w *world) {
	w.start()
	w.comeAndGo(20)
	w.waitForScrapes(3, "a", "b")
	base := w.usage()
	w.comeAndGo(200)
	w.wait("goroutines and files are back to the level before", func() error { return w.usage().within(base) })
	w.checkChangeIsSeen()
}

// comeAndGo creates pods, waits until they are targets, and deletes them.
func (w *world) comeAndGo(pods int) {
	w.Helper()
	each := func(do func(name, ip string) error) {
		var workers sync.WaitGroup
		for worker := range 4 {
			workers.Go(func() {
				for n := worker; n < pods; n += 4 {
					if err := do("churn-"+strconv.Itoa(n), w.elsewhere(20+n)); err != nil {
						w.Error(err)
					}
				}
			})
		}
		workers.Wait()
	}
	each(func(name, ip string) error { return w.cluster.CreatePod(w.Context(), w.pod(name, ip)) })
	w.wait(fmt.Sprintf("%d more pods are targets", pods), func() error {
		got, err := w.active()
		if err == nil && len(got) != pods+2 {
			err = fmt.Errorf("%d targets", len(got))
		}
		return err
	})
	each(func(name, _ string) error { return w.cluster.DeletePod(w.Context(), w.namespace, name, 0) })
	w.wait("none of them is a target", func() error { return w.targets("a", "b") })
}

// usage is the number of goroutines and open files of the process.
type usage struct{ goroutines, files float64 }

func (w *world) usage() usage {
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return usage{m.Sum("go_goroutines"), m.Sum("process_open_fds")}
}

// within returns an error if the usage is higher than base by more than a twentieth plus a small tolerance.
func (u usage) within(base usage) error {
	if u.goroutines > base.goroutines*1.05+5 || u.files > base.files*1.05+5 {
		return fmt.Errorf("%+v, before %+v", u, base)
	}
	return nil
}
