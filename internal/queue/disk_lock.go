package queue

// diskLock is a mutex that is held over calls of the file system, for seconds if the disk is slow. A goroutine waits
// for it at a channel, as it waits for a timer. With a sync.Mutex the clock of testing/synctest would stand still while
// a goroutine waits, so no simulated disk could be slow.
type diskLock chan struct{}

func newDiskLock() diskLock { return make(diskLock, 1) }

func (l diskLock) Lock()   { l <- struct{}{} }
func (l diskLock) Unlock() { <-l }
