package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
)

// script writes a shell script and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vmui.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFindUI(t *testing.T) {
	ui := t.TempDir()
	for name, tc := range map[string]struct {
		script string
		once   bool
		want   string // the folder, or a part of the error
		is     error
	}{
		"it is there":           {"echo " + ui, false, ui, nil},
		"it is downloaded":      {"echo downloading >&2; [ -z \"$1\" ] && echo " + ui, false, ui, nil},
		"once, and it is there": {"[ \"$1\" = --cached ] && echo " + ui, true, ui, nil},
		"once, and it is not":   {"exit 3", true, errNotCached.Error(), errNotCached},
		"no network":            {"echo downloading >&2; echo no network >&2; exit 1", false, "no network", nil},
		"a missing folder":      {"echo /nowhere", false, "/nowhere: no such file", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := findUI(t.Context(), options{vmui: script(t, tc.script), once: tc.once, dir: t.TempDir()})
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tc.want) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Errorf("got %q, error %v, want %q", got, err, tc.want)
			}
		})
	}
}

// TestFindUIEndsWithTheDemo checks that Ctrl-C ends a download.
func TestFindUIEndsWithTheDemo(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	go func() {
		defer stop()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := os.Stat(started); err == nil {
				return
			}
		}
	}()
	_, err := findUI(ctx, options{vmui: script(t, "touch "+started+"; exec sleep 60"), dir: dir})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

func TestAwaitLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		lines := fake(func() (model.Vector, error) { return of(nil)[:0], nil })
		if err := awaitLines(t.Context(), lines, 2); err == nil || !strings.Contains(err.Error(), "istio_build") {
			t.Errorf("error %v, want istio_build in it", err)
		}
		if took := time.Since(start); took > resultDeadline {
			t.Errorf("gave up after %v, want at most %v", took, resultDeadline)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		lines := fake(func() (model.Vector, error) {
			return model.Vector{{}}[:min(1, int(time.Since(start)/(10*time.Second)))], nil
		})
		if err := awaitLines(t.Context(), lines, 2); err != nil {
			t.Error(err)
		}
	})
}

// TestGraphsPage checks what a browser gets before the graphs are ready, and then.
func TestGraphsPage(t *testing.T) {
	g := &graphsPage{}
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w
	}
	if w := get(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Refresh") == "" ||
		!strings.Contains(w.Body.String(), "in about a minute") {
		t.Errorf("before: %d %v %q", w.Code, w.Header(), w.Body)
	}
	h := http.Handler(http.RedirectHandler("/vmui/", http.StatusFound))
	g.handler.Store(&h)
	if w := get(); w.Code != http.StatusFound {
		t.Errorf("then: %d %q", w.Code, w.Body)
	}
}

func TestWhatIsPrintedAboutGraphs(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	print := func(o options, errs ...error) string {
		var b strings.Builder
		g := &graphsPage{options: o, url: "URL"}
		g.printPlace(&b)
		for _, err := range errs {
			g.printReady(&b, err)
		}
		return b.String()
	}
	const hint = "                       (DEMO_DASHBOARDS=FOLDER says where its Grafana dashboards are)\n"
	for name, tc := range map[string]struct{ got, want string }{
		"all dashboards": {print(options{meshDashboards: folder}), "  graphs               URL in about a minute\n"},
		"only ours": {print(options{meshDashboards: "/nowhere"}), "  graphs               URL in about a minute\n" +
			"                       envoy-scraper's own: the mesh's are not in /nowhere\n" + hint},
		"ready":            {print(options{once: true}, nil), "graphs: URL ready\n"},
		"no web UI":        {print(options{once: true}, errors.New("no network")), "graphs: none: no network\n"},
		"the demo's end":   {print(options{once: true}, context.Canceled), ""},
		"once, no address": {print(options{once: true}), ""},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", name, tc.got, tc.want)
		}
	}
}
