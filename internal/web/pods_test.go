package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// addPods adds the report on the pods of shop, and what an API server and a target would answer.
func (m *fakeMesh) addPods() {
	const job = "envoy-stats"
	target := func(ip string) *diagnose.Target {
		return &diagnose.Target{Job: job, URL: "http://" + ip + ":15090/stats/prometheus",
			LastScrape: fakeNow.Add(-4321 * time.Millisecond), Duration: 12 * time.Millisecond, PageBytes: 270_336,
			WireBytes: 5530, Samples: 2148, Kept: 2011}
	}
	down := target("10.0.0.2")
	down.Err = `Get "http://10.0.0.2:15090/stats/prometheus": dial tcp 10.0.0.2:15090: connect: connection refused`
	down.FailingSince, down.Failures, down.PageBytes, down.WireBytes = fakeNow.Add(-14*time.Minute), 57, 0, 0
	const keep = `keep __meta_kubernetes_pod_container_port_name =~ ".*-envoy-prom"`
	m.pods = diagnose.Report{
		At: fakeNow,
		Rows: []diagnose.Row{
			{Namespace: "shop", Pod: "cart-1", Node: "node-1", IP: "10.0.0.2", Workload: "StatefulSet/cart",
				Verdict: diagnose.Down, Target: down, Targets: 1, Reason: diagnose.Reason{
					Sentence: "nothing listens on 10.0.0.2:15090: connection refused", Cause: "refused", Job: job,
					Hint: "METRICS_LOCALHOST_ACCESS_ONLY makes the port local"}},
			{Namespace: "shop", Pod: "web-0", Node: "node-2", IP: "10.0.0.6", Verdict: diagnose.NotATarget,
				Reason: diagnose.Reason{
					Sentence: `rule 2 of job envoy-stats keeps ports named ".*-envoy-prom", this one is "envoy-prom"`,
					Hint:     "the rule wants something before the hyphen", Cause: "rule:envoy-stats:2", Job: job,
					Rule:     2,
					RuleText: keep, Value: "envoy-prom", Regex: ".*-envoy-prom"}},
			{Namespace: "shop", Pod: "pay-0", Node: "node-1", IP: "fd00::3", Verdict: diagnose.NotReady,
				Target: &diagnose.Target{Job: job, URL: "http://[fd00::3]:15090/stats/prometheus"}, Targets: 1,
				Reason: diagnose.Reason{Sentence: "it has not been scraped yet", Cause: "new", Job: job}},
			{Namespace: "shop", Pod: "batch-0", Verdict: diagnose.Finished, Reason: diagnose.Reason{
				Sentence: "its phase is Succeeded", Cause: "finished"}},
			{Namespace: "shop", Pod: "cart-0", Node: "node-1", IP: "10.0.0.1", Workload: "StatefulSet/cart",
				Verdict: diagnose.Scraped, Target: target("10.0.0.1"), Targets: 1,
				Reason: diagnose.Reason{Sentence: "scraped by job envoy-stats every 15s", Cause: "scraped", Job: job}},
		},
		Causes: []diagnose.Cause{
			{Key: "refused", Verdict: diagnose.Down, Words: "connection refused", Count: 1, Example: "shop/cart-1"},
			{Key: "rule:envoy-stats:2", Verdict: diagnose.NotATarget, Words: "rule 2 of job envoy-stats: " + keep,
				Count: 1, Example: "shop/web-0"},
			{Key: "new", Verdict: diagnose.NotReady, Words: "not scraped yet", Count: 1, Example: "shop/pay-0"},
		},
		Funnels: []diagnose.Funnel{{Job: job, Steps: []diagnose.FunnelStep{
			{Words: "discovered", Left: 2410},
			{Words: "rule 2: " + keep, Out: 1998, Left: 412, Cause: "rule:envoy-stats:2"},
			{Words: "scraped by other shards", Out: 274, Left: 138},
			{Words: "scraped", Left: 138},
		}}},
		Notes: []string{"namespace kube-system may not be listed, so its pods are not known"},
	}
	m.podFacts = func() ([]show.Fact, error) {
		return []show.Fact{{Name: "Phase", Value: "Running"}, {Name: "istio-proxy", Value: "ready, restarted 3 times"}},
			nil
	}
	m.preview = func(_ context.Context, job, url string) (*scrape.Preview, error) {
		return &scrape.Preview{Status: "200 OK", Header: http.Header{"Content-Type": {"text/plain"},
			"Server": {"envoy"}},
			Body: []byte("# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"), Took: 3 * time.Millisecond}, nil
	}
}

func TestPodsPages(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	for name, path := range map[string]string{
		"pods":          "/pods",
		"pods-filtered": "/pods?verdict=DOWN&namespace=shop&sort=-took&rows=500",
		"pods-none":     "/pods?search=nothing-has-this",
		"pods-cause":    "/pods?cause=rule:envoy-stats:2",
		"pod":           "/pods?pod=shop/cart-1",
		"pod-dropped":   "/pods?pod=shop/batch-0",
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(s, "GET", path)
			wantStatus(t, w, http.StatusOK)
			golden(t, name+".html.golden", w.Body.Bytes())
		})
	}
	w := ask(s, "GET", "/pods?pod=shop/cart-8")
	wantStatus(t, w, http.StatusNotFound)
	golden(t, "pod-unknown.html.golden", w.Body.Bytes())
}

func TestPodsAsTextAndJSON(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	for name, path := range map[string]string{"pods": "/pods?", "pod": "/pods?pod=shop/cart-1"} {
		w := ask(s, "GET", path, "Accept", "text/plain")
		wantStatus(t, w, http.StatusOK)
		if got := w.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("%s: content type %q", path, got)
		}
		golden(t, name+".txt.golden", w.Body.Bytes())
		if again := ask(s, "GET", path+"&format=text"); !bytes.Equal(again.Body.Bytes(), w.Body.Bytes()) {
			t.Errorf("%s: format=text differs:\n%s", path, again.Body)
		}
		w = ask(s, "GET", "/api/v1"+path)
		wantStatus(t, w, http.StatusOK)
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, w.Body.Bytes(), "", "  "); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		golden(t, "api-"+name+".json.golden", append(pretty.Bytes(), '\n'))
	}
	w := ask(s, "GET", "/pods?verdict=DOWN", "Accept", "application/json")
	var list struct {
		List struct{ Found, Total int }
		Data []struct{ Name, Pod string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.List.Found != 1 || list.List.Total != 5 ||
		list.Data[0].Name != "shop/cart-1" || list.Data[0].Pod != "cart-1" {
		t.Errorf("the list as JSON: %v in %s", err, w.Body)
	}
}

func TestUnknownPod(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	const want = "no pod shop/crt-0 has an Envoy or should have one; the nearest names: shop/cart-0, shop/cart-1"
	w := ask(s, "GET", "/api/v1/pods?pod=shop/crt-0")
	wantStatus(t, w, http.StatusNotFound)
	if !strings.Contains(w.Body.String(), want) {
		t.Errorf("got %s", w.Body)
	}
	w = ask(s, "GET", "/pods?format=text&pod=shop/crt-0")
	wantStatus(t, w, http.StatusNotFound)
	if w.Body.String() != want+"\n" {
		t.Errorf("got %s", w.Body)
	}
}

// TestRowsOfTheAPI: JSON and text have all rows unless a page of them is asked for.
func TestRowsOfTheAPI(t *testing.T) {
	m := newFakeMesh(t)
	m.pods = manyPods(1000)
	s := m.server(Config{})
	for query, want := range map[string]int{"": 1000, "?rows=100": 100, "?page=10&rows=100": 100,
		"?verdict=SCRAPED":    900,
		"?search=node%3Dnone": 0} {
		var got struct {
			Data show.Answer `json:"data"`
		}
		w := ask(s, "GET", "/api/v1/pods"+query)
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Data.Pods) != want || got.Data.Pods == nil {
			t.Errorf("%s: %d rows, want %d", query, len(got.Data.Pods), want)
		}
	}
	for _, path := range []string{"/api/v1/pods?", "/pods?format=text&"} {
		wantStatus(t, ask(s, "GET", path+"search=node%3D~("), http.StatusBadRequest)
	}
}

// TestLinksOfPodsAreRelative: behind a proxy the pages may be under any prefix.
func TestLinksOfPodsAreRelative(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	for _, path := range []string{"/pods", "/pods?pod=shop/cart-1", "/pods?pod=x", "/"} {
		body := ask(s, "GET", path).Body.String()
		for _, m := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
			if strings.HasPrefix(m[1], "/") || strings.Contains(m[1], "://") {
				t.Errorf("%s: the link %s is not relative", path, m[1])
			}
		}
	}
}

// TestNumbersOfPodsLeadToThem: each number that is a link leads to as many rows.
func TestNumbersOfPodsLeadToThem(t *testing.T) {
	s := newFakeMesh(t).shop().server(Config{})
	body := ask(s, "GET", "/pods").Body.String()
	links := regexp.MustCompile(`<a href="(\?(?:cause|verdict)[^"]*)"[^>]*>[^<]*?` +
		`(?:<span class="num">)?(\d+)(?:</span>)?</a>`)
	found := links.FindAllStringSubmatch(body, -1)
	if len(found) < 7 {
		t.Fatalf("%d links: %v", len(found), found)
	}
	for _, m := range found {
		list := ask(s, "GET", "/pods"+html.UnescapeString(m[1])).Body.String()
		// 1,998 targets are left out by a rule, of pods that are scraped through another target.
		if rows := strings.Count(list, `<tr id="`); m[2] != "998" && fmt.Sprint(rows) != m[2] {
			t.Errorf("%s: %d rows, want %s", m[1], rows, m[2])
		}
	}
}

func TestHostilePodsStayText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	m := newFakeMesh(t).shop()
	row := &m.pods.Rows[0]
	row.Reason = diagnose.Reason{Sentence: evil, Hint: evil, Cause: evil, Job: evil, Rule: 1, RuleText: evil,
		Value: evil, Regex: evil}
	row.Node, row.IP, row.Workload = evil, evil, evil
	row.Target = &diagnose.Target{Job: evil, URL: "javascript:" + evil, LastScrape: fakeNow, Err: evil}
	m.pods.Causes[0] = diagnose.Cause{Key: evil, Words: evil, Example: evil, Count: 1}
	m.pods.Funnels[0].Steps[0].Words, m.pods.Notes = evil, []string{evil}
	m.podFacts = func() ([]show.Fact, error) {
		return []show.Fact{{Name: evil, Value: evil}}, errors.New(evil)
	}
	m.preview = func(context.Context, string, string) (*scrape.Preview, error) {
		return &scrape.Preview{Status: evil, Header: http.Header{evil: {evil}}, Body: []byte(evil)}, errors.New(evil)
	}
	s := m.server(Config{})
	for _, path := range []string{"/pods", "/pods?pod=shop/cart-1", "/pods?cause=" + url.QueryEscape(evil),
		"/pods?pod=" + url.QueryEscape(evil), "/pods?node=" + url.QueryEscape(evil) + "&search=" +
			url.QueryEscape(evil),
		"/api/v1/pods", "/api/v1/pods?pod=shop/cart-1"} {
		w := ask(s, "GET", path)
		body := strings.Replace(w.Body.String(), `<script src="static/app.js" defer></script>`, "", 1)
		if hit := regexp.MustCompile(`<script|<img|href="javascript`).FindString(body); hit != "" {
			t.Errorf("%s: got markup %s: %s", path, hit, w.Body)
		}
	}
	if w := ask(s, "GET", "/pods?pod=shop/cart-1", "Accept", "text/plain"); w.Header().Get("X-Content-Type-Options") !=
		"nosniff" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("text has the header %v", w.Header())
	}
}

func TestNoCredentialIsShownOfPods(t *testing.T) {
	m := newFakeMesh(t).shop()
	const secret = `see http://me:canary-password@10.0.0.2:15090/x for more`
	row := &m.pods.Rows[0]
	row.Reason.Sentence, row.Reason.Hint, row.Reason.Value, row.Reason.RuleText = secret, secret, secret, secret
	row.Target.Err, row.Target.URL = secret, "http://me:canary-url@10.0.0.2:15090/x"
	m.pods.Causes[0].Words, m.pods.Funnels[0].Steps[1].Words, m.pods.Notes[0] = secret, secret, secret
	m.podFacts = func() ([]show.Fact, error) {
		return []show.Fact{{Name: "Message", Value: secret}}, errors.New(secret)
	}
	m.preview = func(context.Context, string, string) (*scrape.Preview, error) {
		return &scrape.Preview{Status: "200 OK", Header: http.Header{"Location": {secret}}, Body: []byte(secret)},
			errors.New(secret)
	}
	s := m.server(Config{})
	for _, path := range []string{"/pods", "/pods?pod=shop/cart-1", "/api/v1/pods", "/api/v1/pods?pod=shop/cart-1",
		"/pods?format=text", "/pods?format=text&pod=shop/cart-1", "/"} {
		if body := ask(s, "GET", path).Body.String(); strings.Contains(body, "canary") {
			t.Errorf("%s shows a credential: %s", path, body)
		}
	}
}

// TestOtherSitesCauseNoFetch: a link or picture of another web site must not make this process ask pods.
func TestOtherSitesCauseNoFetch(t *testing.T) {
	m := newFakeMesh(t).shop()
	fetched := 0
	m.preview = func(context.Context, string, string) (*scrape.Preview, error) {
		fetched++
		return nil, scrape.ErrNoTarget
	}
	s := m.server(Config{})
	for _, path := range []string{"/pods?pod=shop/cart-1", "/pods?format=text&pod=shop/cart-1",
		"/api/v1/pods?pod=shop/cart-1"} {
		ask(s, "GET", path, "Sec-Fetch-Site", "cross-site")
		if fetched > 0 {
			t.Fatalf("%s: fetched for another site", path)
		}
		ask(s, "GET", path, "Sec-Fetch-Site", "none")
		if fetched != 1 {
			t.Errorf("%s: fetched %d times for a person", path, fetched)
		}
		fetched = 0
	}
}

// TestPreviewsAreFew: two pages are fetched at the same time. A third person reads why theirs is not.
func TestPreviewsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeMesh(t).shop()
		var mu sync.Mutex
		running, most := 0, 0
		count := func(by int) {
			mu.Lock()
			defer mu.Unlock()
			running += by
			most = max(most, running)
		}
		m.preview = func(ctx context.Context, _, _ string) (*scrape.Preview, error) {
			count(1)
			defer count(-1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s := m.server(Config{})
		answers := make(chan string)
		for range 3 {
			go func() { answers <- ask(s, "GET", "/pods?format=text&pod=shop/cart-1").Body.String() }()
		}
		began, waited := time.Now(), 0
		for range 3 {
			if strings.Contains(<-answers, "2 other pages are being fetched; try again") {
				waited++
			}
		}
		if most != maxPreviews || time.Since(began) > evidenceTimeout {
			t.Errorf("%d at once, for %v", most, time.Since(began))
		}
		if waited != 1 {
			t.Errorf("%d of 3 waited in vain, want 1", waited)
		}
	})
}

// TestAnAPIServerThatDoesNotAnswer: its timeout leaves time for the page.
func TestAnAPIServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeMesh(t).shop()
		src := m.sources()
		src.Pods.Ask = func(ctx context.Context, _, _ string) (diagnose.Report, []show.Fact, error) {
			<-ctx.Done()
			return m.pods, nil, errors.New("the API server does not answer")
		}
		src.Pods.Preview = func(ctx context.Context, _, _ string) (*scrape.Preview, error) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return &scrape.Preview{Status: "200 OK"}, nil
		}
		s := New(Config{}, src, zap.NewNop())
		for range 10 {
			body := ask(s, "GET", "/pods?format=text&pod=shop/cart-1").Body.String()
			if !strings.Contains(body, "the API server does not answer") || !strings.Contains(body, "200 OK after") ||
				strings.Contains(body, "other pages") {
				t.Fatalf("got %s", body)
			}
		}
	})
}

// TestTheAPIServerIsAskedForFew: its requests have the limits of those to pods.
func TestTheAPIServerIsAskedForFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeMesh(t).shop()
		src := m.sources()
		asked := make(chan struct{}, 100)
		src.Pods.Ask = func(ctx context.Context, _, _ string) (diagnose.Report, []show.Fact, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return m.pods, nil, nil
		}
		s := New(Config{}, src, zap.NewNop())
		ask(s, "GET", "/pods?pod=shop/cart-1", "Sec-Fetch-Site", "cross-site")
		if len(asked) != 0 {
			t.Error("the API server was asked for another site")
		}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { ask(s, "GET", "/pods?pod=shop/batch-0") })
		}
		synctest.Wait()
		if len(asked) != maxPreviews {
			t.Errorf("the API server was asked %d times at once, want %d", len(asked), maxPreviews)
		}
		all.Wait()
	})
}

// TestEvidenceOfTargetsThatAreNotScrapedHere: rules keep them all.
func TestEvidenceOfTargetsThatAreNotScrapedHere(t *testing.T) {
	m := newFakeMesh(t).shop()
	src := m.sources()
	found := scrape.FoundTarget{Job: "envoy-stats", Pod: scrape.Pod{Namespace: "shop", Name: "web-0"},
		Discovered: func() labels.Labels {
			return pod("envoy-stats", "shop", "web-0", "10.0.0.6:15090", "http-envoy-prom")
		}}
	invalid, duplicate, elsewhere := found, found, found
	invalid.Reason = "no address"
	duplicate.Same = scrape.Pod{Namespace: "shop", Name: "web-1"}
	elsewhere.Shard = 3
	src.Pods.Targets = func(scrape.Pod) []scrape.PoolStatus {
		return []scrape.PoolStatus{{Job: "envoy-stats", Invalid: []scrape.FoundTarget{invalid},
			Duplicates: []scrape.FoundTarget{duplicate}, Elsewhere: []scrape.FoundTarget{elsewhere}}}
	}
	s := New(Config{}, src, zap.NewNop())
	for _, path := range []string{"/pods?pod=shop/web-0", "/pods?format=text&pod=shop/web-0"} {
		body := ask(s, "GET", path).Body.String()
		for _, want := range []string{"It is not a valid target: no address.",
			"It equals the target of pod shop/web-1, which is scraped.", "Shard 3 scrapes it."} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in %s", path, want, body)
			}
		}
	}
	if body := ask(s, "GET", "/pods?pod=shop/pay-0").Body.String(); !strings.Contains(body,
		"No job has discovered a target of this pod.") {
		t.Errorf("got %s", body)
	}
}

func TestKubectlLine(t *testing.T) {
	for _, c := range []struct{ ip, url, want string }{
		{"10.0.0.1", "http://10.0.0.1:15090/stats/prometheus", "…cart-0:15090/proxy/stats/prometheus"},
		{"fd00::1", "http://[fd00::1]:15090/stats/prometheus", "…cart-0:15090/proxy/stats/prometheus"},
		{"10.0.0.1", "https://10.0.0.1/m", "…https:cart-0:443/proxy/m"},
		{"10.0.0.1", "http://10.0.0.1/m?a=b", "'…cart-0:80/proxy/m?a=b'"},
		{"10.0.0.1", "http://10.0.0.1:1/$(reboot)';x", `'…cart-0:1/proxy/$(reboot)'\'';x'`},
		{"10.0.0.1", "http://10.0.0.9:15090/", ""}, // not the pod's address
		{"10.0.0.1", "", "…cart-0:15090/proxy/stats/prometheus"},
	} {
		row := &diagnose.Row{Namespace: "shop", Pod: "cart-0", IP: c.ip}
		if c.url != "" {
			row.Target = &diagnose.Target{URL: c.url}
		}
		want := strings.ReplaceAll(c.want, "…", "/api/v1/namespaces/shop/pods/")
		if want != "" {
			want = "kubectl get --raw " + want
		}
		if got := kubectlLine(row); got != want {
			t.Errorf("%s: got %s, want %s", c.url, got, want)
		}
	}
	if got := shellQuote("it's"); got != `'it'\''s'` {
		t.Errorf("got %s", got)
	}
}

// manyPods returns a report on pods of 20 namespaces and 200 nodes, a tenth of which are not scraped.
func manyPods(n int) diagnose.Report {
	report := diagnose.Report{At: fakeNow}
	for i := range n {
		row := diagnose.Row{Namespace: fmt.Sprintf("team-%d", i%20), Pod: fmt.Sprintf("reviews-v1-7f99cc4496-%05d", i),
			Node: fmt.Sprintf("ip-10-0-%d-17.eu-central-1.compute.internal", i%200), IP: fmt.Sprintf("10.1.%d.%d",
				i/250, i%250),
			Workload: "ReplicaSet/reviews-v1-7f99cc4496", Verdict: diagnose.Scraped, Targets: 1,
			Reason: diagnose.Reason{Sentence: "scraped by job envoy-stats every 15s", Cause: "scraped",
				Job: "envoy-stats"},
			Target: &diagnose.Target{Job: "envoy-stats", URL: "http://10.1.0.1:15090/stats/prometheus",
				LastScrape: fakeNow.Add(-time.Duration(i) * time.Millisecond),
				Duration:   time.Duration(i) * time.Microsecond,
				PageBytes:  int64(270_000 + i), Samples: i, Kept: i},
		}
		if i < n/10 {
			row.Verdict, row.Target = diagnose.NotATarget, nil
			row.Reason = diagnose.Reason{Sentence: "rule 1 of job envoy-stats keeps only ports whose name matches " +
				`".*-envoy-prom"; the names of this pod's ports are "http", "grpc" and "envoy-prom"`,
				Hint:  "the port is named envoy-prom, the rule wants something before the hyphen",
				Cause: "rule:envoy-stats:1",
				Job:   "envoy-stats", Rule: 1}
		}
		report.Rows = append(report.Rows, row)
	}
	report.Causes = []diagnose.Cause{{Key: "rule:envoy-stats:1", Verdict: diagnose.NotATarget, Words: "rule 1",
		Count: n / 10, Example: "team-0/reviews-v1-7f99cc4496-00000"}}
	return report
}

func TestTenThousandPodsComeInPages(t *testing.T) {
	m := newFakeMesh(t)
	m.pods = manyPods(10_000)
	s := m.server(Config{})
	for _, c := range []struct {
		path, want string
		rows       int
	}{
		{"/pods", "1–100 of 10,000", 100},
		{"/pods?rows=500", "1–500 of 10,000", 500},
		{"/pods?rows=500&page=20&sort=-samples", "9,501–10,000 of 10,000", 500},
		{"/pods?rows=1000000", "1–100 of 10,000", 100},
		{"/pods?page=999999999", "9,901–10,000 of 10,000", 100},
		{"/pods?search=00017&rows=500", "Showing 1 of 10,000 pods, filtered by search “00017”", 1},
		{"/pods?search=node%3Dip-10-0-3-17.eu-central-1.compute.internal", "Showing 50 of 10,000 pods", 50},
	} {
		body := ask(s, "GET", c.path).Body
		if body.Len() > 1_000_000 {
			t.Errorf("%s: %d bytes, want less than 1 MB", c.path, body.Len())
		}
		if rows := strings.Count(body.String(), `<tr id="`); rows != c.rows || !strings.Contains(body.String(),
			c.want) {
			t.Errorf("%s: %d rows, want %d and %q", c.path, rows, c.rows, c.want)
		}
	}
	for _, path := range []string{"/", "/pods?pod=team-0/reviews-v1-7f99cc4496-00000"} {
		if n := ask(s, "GET", path).Body.Len(); n > 1_000_000 {
			t.Errorf("%s: %d bytes, want less than 1 MB", path, n)
		}
	}
}

func BenchmarkTenThousandPods(b *testing.B) {
	report := manyPods(10_000)
	m := &fakeMesh{pods: report, loaded: Loaded{At: fakeNow}}
	s := m.server(Config{})
	for _, path := range []string{"/pods", "/pods?rows=500&sort=-bytes&search=reviews", "/api/v1/pods",
		"/pods?format=text"} {
		b.Run(path, func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = ask(s, "GET", path).Body.Len()
			}
			b.ReportMetric(float64(size), "bytes/page")
		})
	}
}
