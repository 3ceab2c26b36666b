package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/apiserver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

func pass(d time.Duration) { <-time.After(d) }

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{"app": name[:1]}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// bed is a server on a network, and a client.
type bed struct {
	t       *testing.T
	net     *network.Network
	server  *apiserver.Server
	agent   *network.Host
	http    *http.Client
	close   func()
	clients *http.Transport
}

func newBed(t *testing.T, seed uint64) *bed {
	b := &bed{t: t, net: network.New(seed), server: apiserver.New(seed)}
	l, err := b.net.Host("10.0.0.2").Listen("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		b.server.Serve(l)
		close(done)
	}()
	b.agent = b.net.Host("10.0.0.1")
	b.clients = &http.Transport{DialContext: b.agent.Dial}
	b.http = &http.Client{Transport: b.clients}
	b.close = func() {
		b.clients.CloseIdleConnections()
		_ = l.Close()
		<-done
		pass(time.Minute)
		if n := b.net.Open(); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
		if n := b.server.Watches(); n != 0 {
			t.Errorf("%d watches are left", n)
		}
	}
	return b
}

// get returns the status and the body of an answer. The error is that of the body, too.
func (b *bed) get(path string) (int, string, error) {
	resp, err := b.http.Get("http://10.0.0.2:443" + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// list returns the names of a list, the token of its next page, and its version.
func (b *bed) list(query string) (names []string, token, version string) {
	b.t.Helper()
	code, body, err := b.get("/api/v1/pods" + query)
	var list corev1.PodList
	if err == nil {
		err = json.Unmarshal([]byte(body), &list)
	}
	if err != nil || code != 200 {
		b.t.Fatalf("list %s: %d, %v: %s", query, code, err, body)
	}
	for _, p := range list.Items {
		names = append(names, p.Name)
	}
	return names, list.Continue, list.ResourceVersion
}

// events reads a watch until it ends by itself.
func (b *bed) events(query string, meanwhile func()) (events []string) {
	b.t.Helper()
	resp, err := b.http.Get("http://10.0.0.2:443/api/v1/pods?watch=1" + query)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		return []string{fmt.Sprint(resp.StatusCode)}
	}
	meanwhile()
	d := json.NewDecoder(resp.Body)
	for {
		var e struct {
			Type   string
			Object struct {
				metav1.ObjectMeta `json:"metadata"`
				Reason            string
				Spec              corev1.PodSpec
			}
		}
		if err := d.Decode(&e); err != nil {
			return events
		}
		text := e.Type + " " + e.Object.Name + e.Object.Reason + "@" + e.Object.ResourceVersion
		if e.Type == "DELETED" {
			text += " on " + e.Object.Spec.NodeName
		}
		if len(e.Object.Annotations) > 0 {
			text += " end"
		}
		events = append(events, text)
	}
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1)
		defer b.close()
		for _, name := range []string{"c", "a", "b", "d"} {
			b.server.Put(pod(name, "node-"+name)) // versions 2 to 5
		}
		names, _, version := b.list("")
		expect(t, "list", append(names, version), "a", "b", "c", "d", "5")
		names, _, _ = b.list("?fieldSelector=spec.nodeName%3Dnode-b")
		expect(t, "by node", names, "b")
		names, _, _ = b.list("?labelSelector=app+in+(a,d)")
		expect(t, "by label", names, "a", "d")

		names, token, version := b.list("?limit=3")
		expect(t, "first page", append(names, version), "a", "b", "c", "5")
		b.server.Remove("shop", "d")
		b.server.Put(pod("e", ""))
		names, last, version := b.list("?limit=3&continue=" + token)
		expect(t, "second page, as it was", append(names, version, last), "d", "5", "")
		b.server.Compact()
		for path, want := range map[string]string{
			"/api/v1/pods?limit=3&continue=" + token: `410 "reason":"Expired"`,
			"/api/v1/pods?resourceVersion=100":       "504 ResourceVersionTooLarge",
			"/api/v1/namespaces/shop/pods/a":         `200 "nodeName":"node-a"`,
		} {
			status, part, _ := strings.Cut(want, " ")
			if code, body, _ := b.get(path); fmt.Sprint(code) != status || !strings.Contains(body, part) {
				t.Errorf("%s: %d %s, want %s", path, code, body, want)
			}
		}
		for path, want := range map[string]int{
			"/version": 200, "/api/v1/namespaces/shop/pods/x": 404, "/api/v1/nodes": 404,
			"/api/v1/pods?fieldSelector=x": 400, "/api/v1/namespaces/other/pods": 200,
		} {
			if code, body, _ := b.get(path); code != want {
				t.Errorf("%s: %d %s, want %d", path, code, body, want)
			}
		}
	})
}

func TestWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1)
		defer b.close()
		b.server.Put(pod("a", "n1")) // version 2
		b.server.Put(pod("b", "n2"))
		expect(t, "from a version", b.events("&resourceVersion=2&timeoutSeconds=90&allowWatchBookmarks=true", func() {
			b.server.Put(pod("a", "n2"))
			pass(time.Second)
			b.server.Remove("shop", "b")
		}), "ADDED b@3", "MODIFIED a@4", "DELETED b@5 on n2", "BOOKMARK @5")
		byNode := "&resourceVersion=5&timeoutSeconds=10&fieldSelector=spec.nodeName%3Dn1"
		expect(t, "by node", b.events(byNode, func() {
			b.server.Put(pod("c", "n2"))
			b.server.Put(pod("a", "n1"))
			b.server.Put(pod("a", "n1"))
			b.server.Put(pod("a", "n2"))
		}), "ADDED a@7", "MODIFIED a@8", "DELETED a@9 on n1") // as it was before, with the new version
		expect(t, "from any version", b.events("&timeoutSeconds=10", func() {}), "ADDED a@9", "ADDED c@6")
		stream := "&timeoutSeconds=10&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
		expect(t, "stream", b.events(stream, func() {
			b.server.Put(pod("d", "n1"))
		}), "ADDED a@9", "ADDED c@6", "BOOKMARK @9 end", "ADDED d@10")
		b.server.SetStreams(false)
		expect(t, "stream of an older server", b.events(stream, func() {}), "422")
		expect(t, "from the future", b.events("&resourceVersion=100", func() {}), "504")
		b.server.Compact()
		forms := map[string]bool{}
		for range 20 {
			forms[strings.Join(b.events("&resourceVersion=9", func() {}), ",")] = true
		}
		if !maps.Equal(forms, map[string]bool{"410": true, "ERROR Expired@": true}) {
			t.Errorf("forms of 410: %v", forms)
		}
		expect(t, "from the last version", b.events("&resourceVersion=10&timeoutSeconds=10", func() {
			b.server.Rewind(0) // cuts
		}))
	})
}

func TestFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		fault apiserver.Fault
		check func(t *testing.T, b *bed)
	}{
		"away": {apiserver.Fault{Kind: apiserver.Away}, func(t *testing.T, b *bed) {
			if code, _, err := b.get("/api/v1/pods"); err == nil {
				t.Errorf("answered %d", code)
			}
		}},
		"refused": {apiserver.Fault{Kind: apiserver.Refuse, Status: 429, After: 7 * time.Second}, func(t *testing.T,
			b *bed) {
			resp, err := b.http.Get("http://10.0.0.2:443/api/v1/pods")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "7" {
				t.Errorf("answered %d, %v", resp.StatusCode, resp.Header)
			}
		}},
		"half": {apiserver.Fault{Kind: apiserver.Half}, func(t *testing.T, b *bed) {
			if code, body, err := b.get("/api/v1/pods"); err == nil || code != 200 || body == "" {
				t.Errorf("answered %d, %v: %q", code, err, body)
			}
			if code, body, err := b.get("/api/v1/pods?watch=1"); err == nil || code != 200 || body == "" {
				t.Errorf("answered %d, %v: %q", code, err, body)
			}
		}},
		"slow": {apiserver.Fault{Kind: apiserver.Slow, Delay: time.Minute}, func(t *testing.T, b *bed) {
			began := time.Now()
			names, _, _ := b.list("")
			if took := time.Since(began); took < time.Minute || len(names) != 1 {
				t.Errorf("%v after %v", names, took)
			}
		}},
		"stale": {apiserver.Fault{Kind: apiserver.Stale}, func(t *testing.T, b *bed) {
			b.server.Put(pod("new", ""))
			names, _, version := b.list("")
			expect(t, "list", append(names, version), "a", "2")
			expect(t, "watch", b.events("&resourceVersion=2&timeoutSeconds=20", func() {
				pass(10 * time.Second)
				b.server.End("x")
			}), "ADDED new@3")
		}},
		"silent": {apiserver.Fault{Kind: apiserver.Silent}, func(t *testing.T, b *bed) {
			expect(t, "watch", b.events("&resourceVersion=2&timeoutSeconds=100&allowWatchBookmarks=true", func() {
				b.server.Put(pod("new", ""))
			}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, 1)
				defer b.close()
				b.server.Put(pod("a", ""))
				b.server.Begin("x", tc.fault)
				tc.check(t, b)
				b.server.End("x")
				if _, _, version := b.list(""); version == "" {
					t.Error("no list after the fault")
				}
			})
		})
	}
}

func TestRewind(t *testing.T) {
	s := apiserver.New(1)
	s.Put(pod("a", "n1"))
	s.Put(pod("b", "n1"))
	s.Put(pod("a", "n2"))
	s.Remove("shop", "b")
	s.Rewind(2)
	var got []string
	for _, p := range s.Pods() {
		got = append(got, p.Name+" "+p.Spec.NodeName+" "+p.ResourceVersion)
	}
	expect(t, "pods", got, "a n1 2", "b n1 3")
	s.Put(pod("c", "n1"))
	if v := s.Pods()[2].ResourceVersion; v != "6" {
		t.Errorf("the next version is %s, want a new one", v)
	}
}

// TestReflector: whatever the server does to client-go's reflector, it knows the pods some minutes after the last
// fault.
func TestReflector(t *testing.T) {
	requests := map[string]int{}
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, seed)
			defer b.close()
			b.server.SetStreams(seed%2 == 0)
			rnd := chance.Seeded(seed).Of("test").Rand()
			change := func() {
				name := fmt.Sprintf("pod-%d", rnd.IntN(700))
				if rnd.IntN(3) == 0 {
					b.server.Remove("shop", name)
				} else {
					b.server.Put(pod(name, fmt.Sprintf("node-%d", rnd.IntN(3))))
				}
			}
			for range 2000 {
				change()
			}
			ctx, cancel := context.WithCancel(t.Context())
			client, err := corev1client.NewForConfigAndClient(&rest.Config{Host: "http://10.0.0.2:443"}, b.http)
			if err != nil {
				t.Fatal(err)
			}
			selected := func(o metav1.ListOptions) metav1.ListOptions {
				o.FieldSelector = "spec.nodeName=node-1"
				return o
			}
			informer := cache.NewSharedIndexInformer(&cache.ListWatch{
				ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
					o.Limit = 100
					return client.Pods("").List(ctx, selected(o))
				},
				WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
					return client.Pods("").Watch(ctx, selected(o))
				},
			}, &corev1.Pod{}, 0, cache.Indexers{})
			_ = informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
			stopped := make(chan bool)
			go func() {
				informer.RunWithContext(ctx)
				close(stopped)
			}()
			for range 40 {
				fault := apiserver.Fault{Kind: apiserver.Kind(1 + rnd.IntN(6)), Delay: 10 * time.Second,
					Status: []int{500, 403, 429, 410}[rnd.IntN(4)], After: time.Second}
				switch rnd.IntN(4) {
				case 0:
					b.server.Begin("x", fault)
				case 1:
					b.server.Compact()
				case 2:
					b.server.Rewind(rnd.IntN(5))
				}
				for range rnd.IntN(20) {
					change()
					pass(time.Duration(rnd.IntN(3000)) * time.Millisecond)
				}
				b.server.End("x")
				pass(time.Duration(rnd.IntN(100)) * time.Second)
			}
			pass(15 * time.Minute)
			var got, want []string
			for _, o := range informer.GetStore().List() {
				p := o.(*corev1.Pod)
				got = append(got, p.Name+"@"+p.ResourceVersion)
			}
			for _, p := range b.server.Pods() {
				if p.Spec.NodeName == "node-1" {
					want = append(want, p.Name+"@"+p.ResourceVersion)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || len(want) < 50 {
				t.Errorf("seed %d: the reflector has %d pods, the server %d", seed, len(got), len(want))
			}
			cancel()
			<-stopped
			for kind, n := range b.server.Requests() {
				requests[kind] += n
			}
		})
	}
	for _, kind := range []string{"list", "page", "watch", "stream"} {
		if requests[kind] == 0 {
			t.Errorf("no %s was asked for: %v", kind, requests)
		}
	}
	t.Log(requests)
}
