package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// ends records the order in which parts end.
type ends struct {
	mu    sync.Mutex
	names []string
}

func (e *ends) part(name, outlives string) part {
	return part{name: name, outlives: outlives, run: func(ctx context.Context) error {
		<-ctx.Done()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.names = append(e.names, name)
		return nil
	}}
}

func TestRemoteWriteOutlivesTheScrapes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var e ends
	if err := runParts(ctx, []part{e.part("remote write", "scrape"), e.part("scrape", "")}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"scrape", "remote write"}; !slices.Equal(e.names, want) {
		t.Errorf("ended in the order %q, want %q", e.names, want)
	}
}

func TestAPartThatFailsEndsTheOthers(t *testing.T) {
	var e ends
	broken := errors.New("broken")
	err := runParts(t.Context(), []part{
		e.part("remote write", "scrape"), e.part("scrape", ""),
		{name: "server", run: func(context.Context) error { return broken }},
	})
	if !errors.Is(err, broken) || len(e.names) != 2 {
		t.Errorf("error %v, ended %q, want %v and both other parts", err, e.names, broken)
	}
}
