package queue

import (
	"testing"
	"testing/synctest"
)

// TestDamageOfFoundRequestsEndsTheBarrier: what was appended waits for what the start found. When that turns out to be
// damaged, Next gives what was appended, also after a Resize.
func TestDamageOfFoundRequestsEndsTheBarrier(t *testing.T) {
	for _, resize := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			fs := newFakeFS()
			s := openStore(t, "data", fs)
			q := openQueue(t, s, "x", 1, quiet())
			waits(t, q, 0, 0, "7a")
			mustClose(t, q)
			fs.flip(t, "-00000001")
			q = openQueue(t, s, "x", 1, quiet())
			waits(t, q, 0, 0, "7b")
			if resize {
				q.Resize(1)
			}
			if got := group(q, 0, Limit{}); got != "7b" {
				t.Errorf("group %q, want 7b", got)
			}
			q.Ack(0)
			mustClose(t, q)
		})
	}
}
