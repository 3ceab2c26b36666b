package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
)

// fake answers every query with what it holds.
type fake func() (model.Vector, error)

func (f fake) Query(context.Context, string) (model.Vector, error) { return f() }

func of(sidecars []mesh.Sidecar) model.Vector {
	var v model.Vector
	for _, s := range sidecars {
		v = append(v, &model.Sample{Metric: model.Metric{"namespace": model.LabelValue(s.Namespace),
			"pod_name": model.LabelValue(s.Pod)}})
	}
	return v
}

func TestAwaitPods(t *testing.T) {
	sidecars := []mesh.Sidecar{{Namespace: "a", Pod: "one"}, {Namespace: "a", Pod: "two"}}
	for _, c := range []struct {
		name   string
		answer func(after time.Duration) (model.Vector, error)
		gone   time.Duration
		want   string // in the error; empty for none
	}{
		{"all of them after a while", func(after time.Duration) (model.Vector, error) {
			return of(sidecars[:min(2, int(after/time.Second))]), nil
		}, 0, ""},
		{"one never comes", func(time.Duration) (model.Vector, error) { return of(sidecars[:1]), nil }, 0,
			"no Istio metrics of two"},
		{"no answer", func(time.Duration) (model.Vector, error) { return nil, errors.New("refused") }, 0, "refused"},
		{"envoy-scraper ends", func(time.Duration) (model.Vector, error) { return nil, nil }, time.Second,
			"envoy-scraper ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				gone := make(chan struct{})
				if c.gone > 0 {
					time.AfterFunc(c.gone, func() { close(gone) })
				}
				q := fake(func() (model.Vector, error) { return c.answer(time.Since(start)) })
				err := awaitPods(t.Context(), q, sidecars, gone, func(string) {})
				if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
					t.Errorf("error %v, want %q in it", err, c.want)
				}
				if took := time.Since(start); took > resultDeadline {
					t.Errorf("gave up after %v, want at most %v", took, resultDeadline)
				}
			})
		})
	}
}

func TestTheTableIsSorted(t *testing.T) {
	rows := model.Vector{
		{Metric: model.Metric{"who": "b", "code": "200"}, Value: 1234567890},
		{Metric: model.Metric{"who": "a", "code": "500"}, Value: 2},
		{Metric: model.Metric{"who": "a", "code": "200"}, Value: 3},
	}
	var b strings.Builder
	printTable(&b, rows, "who", "code")
	want := "  who  code  value\n  a    200   3\n  a    500   2\n  b    200   1234567890\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
