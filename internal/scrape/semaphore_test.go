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

// TestSemaphoreExchange: a caller gives its slot back, and gets the next one that is released, before all who wait.
func TestSemaphoreExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSemaphore(3)
		g.tryAcquire()
		g.tryAcquire()
		exchanged := make(chan bool, 1)
		go func() { exchanged <- g.exchange(t.Context()) }()
		synctest.Wait()
		if held, waiting := g.counts(); held != 1 || waiting != 1 {
			t.Errorf("%d slots held, %d waiters, want 1 and 1", held, waiting)
		}
		g.tryAcquire()
		g.tryAcquire()
		preferred := make(chan bool, 1)
		go func() { preferred <- g.acquire(t.Context(), true, nil) }()
		synctest.Wait()
		g.release()
		synctest.Wait()
		if len(exchanged) != 1 || len(preferred) != 0 {
			t.Error("the slot did not go to the caller of exchange")
		}
		g.release()
		if !<-exchanged || !<-preferred {
			t.Error("a caller got no slot")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if g.exchange(ctx) {
			t.Error("got a slot that nobody released")
		}
		if held, waiting := g.counts(); held != 2 || waiting != 0 {
			t.Errorf("in the end %d slots held, %d waiters, want 2 and none", held, waiting)
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
