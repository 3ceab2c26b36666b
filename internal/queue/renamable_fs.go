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

	mu  sync.RWMutex // held for reading by each call, for writing while the directory is renamed; guards the following
	now string
}

func (m *renamableFS) rename(to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.FS.Rename(m.now, to); err != nil {
		return err
	}
	m.now = to
	return nil
}

// real returns the present name of a file of the queue. The caller holds mu.
func (m *renamableFS) real(name string) string {
	if rest, ok := strings.CutPrefix(name, m.dir); ok {
		return m.now + rest
	}
	return name
}

// Mkdir implements FS.
func (m *renamableFS) Mkdir(dir string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.FS.Mkdir(m.real(dir))
}

// ReadDir implements FS.
func (m *renamableFS) ReadDir(dir string) ([]Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.FS.ReadDir(m.real(dir))
}

// Open implements FS.
func (m *renamableFS) Open(name string, create bool) (File, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.FS.Open(m.real(name), create)
}

// Remove implements FS.
func (m *renamableFS) Remove(name string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.FS.Remove(m.real(name))
}

// Rename implements FS.
func (m *renamableFS) Rename(from, to string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.FS.Rename(m.real(from), m.real(to))
}

// SyncDir implements FS.
func (m *renamableFS) SyncDir(dir string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.FS.SyncDir(m.real(dir))
}
