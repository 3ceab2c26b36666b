package web

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestDroppedTargetsAreCountedByRule(t *testing.T) {
	m := newFakeMesh(t).shop()
	for i := range maxCounted {
		m.discover("envoy-stats", "", pod("envoy-stats", "kube-system", fmt.Sprint("dns-", i), "10.0.0.5:53", "dns"))
	}
	s := m.server(Config{})
	want := &droppedBy{Job: "envoy-stats", Counted: maxCounted, Of: maxCounted + 2, Rules: []droppingRule{
		{1, `drop __meta_kubernetes_pod_phase =~ "Failed|Succeeded"`, 1},
		{2, `keep __meta_kubernetes_pod_container_port_name =~ ".*-envoy-prom"`, maxCounted - 1},
	}}
	for _, job := range []string{"", "envoy-stats"} { // the only job needs not be chosen
		if got := s.droppedBy(s.pools(), job); !reflect.DeepEqual(got, want) {
			t.Errorf("job %q: got %+v, want %+v", job, got, want)
		}
	}
	m.addJob(t, "other", "[]")
	for _, job := range []string{"", "other", "none"} {
		if got := s.droppedBy(s.pools(), job); got != nil {
			t.Errorf("job %q: got %+v, want nothing", job, got)
		}
	}
}

func TestDiff(t *testing.T) {
	got := diff(labels.FromStrings("a", "1", "b", "2", "c", "3"), labels.FromStrings("b", "2", "c", "4", "d", "5"))
	want := []change{{"removed", "a", "1", ""}, {"changed", "c", "3", "4"}, {"added", "d", "", "5"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNameOf(t *testing.T) {
	const meta = "__meta_kubernetes_"
	for want, l := range map[string]labels.Labels{
		"10.0.0.1:80": labels.FromStrings("__address__", "10.0.0.1:80"),
		"shop/cart-0": labels.FromStrings("__address__", "x", meta+"namespace", "shop", meta+"pod_name",
			"cart-0"),
		"shop/cart-0 app": labels.FromStrings("__address__", "x", meta+"namespace", "shop", meta+"pod_name",
			"cart-0", meta+"pod_container_name", "app"),
		"shop/cart-0 app:80": labels.FromStrings("__address__", "x", meta+"namespace", "shop", meta+"pod_name",
			"cart-0", meta+"pod_container_name", "app", meta+"pod_container_port_number", "80"),
		"node-1": labels.FromStrings("__address__", "x", meta+"node_name", "node-1"),
	} {
		if got := nameOf(l); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMaskedURLs(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"plain text @ home":                  "plain text @ home",
		"http://host/a@b":                    "http://host/a@b",
		"http://u:p@host/x":                  "http://<redacted>@host/x",
		"http://u:p@q@host/x":                "http://<redacted>@host/x",
		`a "http://u:p@h" b https://v@w`:     `a "http://<redacted>@h" b https://<redacted>@w`,
		"http://[fd00::1]:15090/stats?a=x@y": "http://[fd00::1]:15090/stats?a=x@y",
	} {
		if got := maskURLs(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
