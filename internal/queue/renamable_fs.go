package queue

import (
	"strings"
	"sync"
)

// renamableFS is the file system of an open queue. The queue uses the name that its directory had when it was opened,
// and renamableFS replaces it by the present name, so that the directory can be renamed while files in it are open.
type renamableFS struct {
	FS
	dir string // the name that the queue uses

	mu       sync.Mutex // guards the following; never held over a call of the FS
	now      string
	calls    int           // that run now and use the name
	idle     chan struct{} // closed when the last of these calls has ended; nil: no rename waits for that
	renaming chan struct{} // closed when the rename has ended; nil: there is none
}

// rename renames the directory between two calls. The caller holds Store.mu, so there is one rename at a time.
func (m *renamableFS) rename(to string) error {
	m.mu.Lock()
	m.renaming = make(chan struct{}) // no call begins from now on
	from, idle := m.now, make(chan struct{})
	if m.calls == 0 {
		close(idle)
	} else {
		m.idle = idle
	}
	m.mu.Unlock()
	<-idle
	err := m.FS.Rename(from, to)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.now = to
	}
	close(m.renaming)
	m.idle, m.renaming = nil, nil
	return err
}

// begin begins a call, which ends with end. It returns the present names of files of the queue, which hold until then.
func (m *renamableFS) begin(names ...string) []string {
	m.mu.Lock()
	for m.renaming != nil {
		renamed := m.renaming
		m.mu.Unlock()
		<-renamed
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	m.calls++
	for i, name := range names {
		if rest, ok := strings.CutPrefix(name, m.dir); ok {
			names[i] = m.now + rest
		}
	}
	return names
}

func (m *renamableFS) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls--; m.calls == 0 && m.idle != nil {
		close(m.idle)
		m.idle = nil
	}
}

// Mkdir implements FS.
func (m *renamableFS) Mkdir(dir string) error {
	defer m.end()
	return m.FS.Mkdir(m.begin(dir)[0])
}

// ReadDir implements FS.
func (m *renamableFS) ReadDir(dir string) ([]Entry, error) {
	defer m.end()
	return m.FS.ReadDir(m.begin(dir)[0])
}

// Open implements FS.
func (m *renamableFS) Open(name string, create bool) (File, error) {
	defer m.end()
	return m.FS.Open(m.begin(name)[0], create)
}

// Remove implements FS.
func (m *renamableFS) Remove(name string) error {
	defer m.end()
	return m.FS.Remove(m.begin(name)[0])
}

// Rename implements FS.
func (m *renamableFS) Rename(from, to string) error {
	defer m.end()
	names := m.begin(from, to)
	return m.FS.Rename(names[0], names[1])
}

// SyncDir implements FS.
func (m *renamableFS) SyncDir(dir string) error {
	defer m.end()
	return m.FS.SyncDir(m.begin(dir)[0])
}
