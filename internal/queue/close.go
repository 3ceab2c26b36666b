package queue

import (
	"errors"
	"slices"
	"time"
)

var errSlowDisk = errors.New("close queue: the disk does not answer")

// Close implements Queue.
func (q *FIFO) Close() (Loss, error) {
	q.mu.Lock()
	if q.closed {
		q.unlock()
		return Loss{}, nil
	}
	q.closed = true
	q.unlock()
	var err error
	if q.disk != nil {
		err = q.closeDisk()
	}
	q.mu.Lock()
	defer q.unlock()
	q.gaveUp = err != nil
	var loss Loss
	for l := range q.lanes {
		for r := range l.requests.all {
			if r.written < r.records || q.disk == nil {
				loss.Requests++
				for _, rec := range r.Records[r.written:] {
					loss.Samples += rec.Samples
				}
			}
			if !q.gaveUp || !r.writing && r.written == 0 {
				l.requests.remove(r)
			} else if r.taken && r.inMemory() {
				r.ownData() // a segment whose sync failed is still renewed from it
			}
		}
		l.memory, l.pending = 0, 0
	}
	q.memory = 0
	clear(q.inFlight)
	return loss, err
}

// closeDisk writes and syncs what is left, for at most closeTimeout. If the disk hangs longer, the queue's goroutines
// go on without the caller, and the records that they were writing count as lost. The store treats the queue as open
// until they end, so that it is not opened a second time while they write.
func (q *FIFO) closeDisk() error {
	d := q.disk
	close(d.closing)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.loops.Wait()
		q.removeSegments(true)
		for l := range q.lanes {
			q.writePosition(l, true)
		}
		q.mu.Lock()
		open := map[File]*segment{}
		for l := range q.lanes {
			for _, s := range l.segments {
				if s.file != nil && s.uses == 0 {
					open[s.file] = s
				}
			}
		}
		q.mu.Unlock()
		for f, s := range open {
			if s.torn {
				_ = f.Truncate(s.size)
			}
		}
		q.syncAll()
		if q.renewSegments(true) {
			q.syncAll()
		}
		for f := range open {
			_ = f.Close()
		}
		for l := range q.lanes {
			l.pos.mu.Lock()
			l.pos.gone = true
			l.pos.close()
			l.pos.mu.Unlock()
		}
	}()
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-done:
		d.onClose()
		return nil
	case <-t.C:
		go func() {
			<-done
			d.onClose()
		}()
		return errSlowDisk
	}
}

// ownData replaces the data of a request by copies. A queue that is being closed may still write a request that its
// reader has, and the reader may use the memory for something else after Ack or Close.
func (r *request) ownData() {
	r.Records = slices.Clone(r.Records)
	for i := range r.Records {
		r.Records[i].Data = slices.Clone(r.Records[i].Data)
	}
}
