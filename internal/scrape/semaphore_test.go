package scrape

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestSemaphore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSemaphore(2)
		acquired := 0
		for g.tryAcquire() {
			acquired++
		}
		if acquired != 2 {
			t.Fatalf("%d slots of a semaphore of two", acquired)
		}
		var order []string
		acquire := func(name string, preferred bool) {
			go func() {
				if g.acquire(t.Context(), preferred, nil) {
					order = append(order, name)
				}
			}()
			synctest.Wait()
		}
		acquire("a", false)
		acquire("b", false)
		acquire("c", true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if g.acquire(ctx, true, nil) {
			t.Error("got a third slot")
		}
		for range 3 {
			g.release()
			synctest.Wait()
		}
		if want := []string{"c", "a", "b"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		g.release()
		g.release()
		if held, waiting := g.counts(); held != 0 || waiting != 0 {
			t.Errorf("in the end %d slots held, %d waiters", held, waiting)
		}
	})
}

// TestSemaphoreLosesNoSlot: a caller whose context ends just when it gets a slot passes the slot on.
func TestSemaphoreLosesNoSlot(t *testing.T) {
	g := newSemaphore(1)
	for range 200 {
		g.tryAcquire()
		ctx, cancel := context.WithCancel(t.Context())
		acquired := make(chan bool)
		go func() { acquired <- g.acquire(ctx, false, nil) }()
		go cancel()
		g.release()
		if <-acquired {
			g.release()
		}
		if held, waiting := g.counts(); held != 0 || waiting != 0 {
			t.Fatalf("%d slots held, %d waiters", held, waiting)
		}
	}
}
