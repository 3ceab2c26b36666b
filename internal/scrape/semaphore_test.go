package scrape

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2)
		entered := 0
		for g.tryEnter() {
			entered++
		}
		if entered != 2 {
			t.Fatalf("a gate for two lets in %d", entered)
		}
		var order []string
		enter := func(name string, preferred bool) {
			go func() {
				if g.enter(t.Context(), preferred, nil) {
					order = append(order, name)
				}
			}()
			synctest.Wait()
		}
		enter("a", false)
		enter("b", false)
		enter("c", true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if g.enter(ctx, true, nil) {
			t.Error("a third was let in")
		}
		for range 3 {
			g.leave()
			synctest.Wait()
		}
		if want := []string{"c", "a", "b"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		g.leave()
		g.leave()
		if held, waiting := g.load(); held != 0 || waiting != 0 {
			t.Errorf("in the end %d hold, %d wait", held, waiting)
		}
	})
}

// TestGateLosesNothing: a waiter that gives up just when its turn comes passes the turn on.
func TestGateLosesNothing(t *testing.T) {
	g := newGate(1)
	for range 200 {
		g.tryEnter()
		ctx, cancel := context.WithCancel(t.Context())
		entered := make(chan bool)
		go func() { entered <- g.enter(ctx, false, nil) }()
		go cancel()
		g.leave()
		if <-entered {
			g.leave()
		}
		if held, waiting := g.load(); held != 0 || waiting != 0 {
			t.Fatalf("%d hold, %d wait", held, waiting)
		}
	}
}
