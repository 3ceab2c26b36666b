package fleet

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"testing"
)

// TestFilterLeavesOutWhatItDoesNotFind compares filtered pages with whole ones, by expressions that find raw names.
func TestFilterLeavesOutWhatItDoesNotFind(t *testing.T) {
	p := newPage(newTemplate(0, 2000, Page{}), 1, Page{})
	fs := filters{byText: map[string]*filter{}}
	for text, keep := range map[string]string{
		"istio_":                              "istio_.*",
		"istio_requests_total":                "istio_requests_total",
		"(?s)cluster.*upstream.*rq.*total":    "envoy_cluster_upstream_rq_(pending_)?total",
		"^cluster_manager":                    "envoy_cluster_manager_.*",
		"^(?:$|[^c]|c(?:$|[^l]))":             "istio_.*|envoy_(server|listener_manager)_.*",
		"nothing":                             "nothing",
		`^istiocustom\.istio_request_bytes\.`: "istio_request_bytes_(bucket|sum|count)",
	} {
		f, err := fs.get(text)
		if err != nil {
			t.Fatal(err)
		}
		p.advance(0.2, 0)
		s := f.of(p.t)
		_, order, _ := read(t, p.buf)
		name := regexp.MustCompile(`__name__="(` + keep + `)"`)
		want := slices.DeleteFunc(order, func(series string) bool { return !name.MatchString(series) })
		body := p.filtered(s)
		values, got, _ := read(t, body)
		if !slices.Equal(got, want) {
			t.Errorf("filter %s: %d series, want %d that match %s", text, len(got), len(want), keep)
		}
		if s.rows != len(got) {
			t.Errorf("filter %s: counts %d rows, the page has %d", text, s.rows, len(got))
		}
		whole, _, _ := read(t, p.buf)
		for series, v := range values {
			if whole[series] != v {
				t.Errorf("filter %s: %s is %v, on the whole page %v", text, series, v, whole[series])
			}
		}
		if types, strangers := families(string(body)); strangers != 0 || len(slices.Compact(types)) != len(types) {
			t.Errorf("filter %s: families %v, and %d samples of others among them", text, types, strangers)
		}
	}
}

func TestFleetAnswersFilters(t *testing.T) {
	c := Config{Targets: 1, Series: 300, Replicas: 1, Moving: 0.2, Base: netip.MustParseAddrPort("127.0.0.1:1")}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		f.handle(w, httptest.NewRequest(http.MethodGet, Path+query, nil), f.targets[0])
		return w
	}
	filter := "?filter=" + url.PathEscape("istio_")
	if values, _, _ := read(t, ask(filter).Body.Bytes()); len(values) != 150 {
		t.Errorf("filtered page has %d series, want 150", len(values))
	}
	if values, _, _ := read(t, ask("?filter=").Body.Bytes()); len(values) != 300 {
		t.Errorf("the page for an empty filter has %d series, want 300", len(values))
	}
	if w := ask("?filter=" + url.PathEscape("(")); w.Code != http.StatusBadRequest {
		t.Errorf("an expression that is none: %d, want 400", w.Code)
	}
	for n := range 2 * maxFilters {
		ask("?filter=" + fmt.Sprint(n))
	}
	if n := len(f.filters.byText); n != maxFilters {
		t.Errorf("%d filters are remembered, want %d", n, maxFilters)
	}
	if s := f.Stats(false); s.Filtered != 1+2*maxFilters || s.Scrapes != s.Filtered+1 || s.Samples >= 300*s.Scrapes {
		t.Errorf("stats = %+v", s)
	}
}

func TestKept(t *testing.T) {
	c := DefaultConfig()
	c.Targets, c.Series = 25, 200
	series, bytes, err := c.Kept("istio_.*")
	if err != nil || series != 25*100 || bytes < 0.6 || bytes > 0.9 {
		t.Errorf("kept = %d, %.2f, %v; want half of the series and two thirds of the bytes", series, bytes, err)
	}
}

func BenchmarkFilteredPage(b *testing.B) {
	p := newPage(newTemplate(0, 2000, Page{}), 1, Page{})
	s := p.t.selectBy(regexp.MustCompile("istio_"))
	b.SetBytes(int64(len(p.filtered(s))))
	for b.Loop() {
		p.filtered(s)
	}
}
