package chaos

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// syncTime is how long the disk takes for a small file: a stop makes some of them durable, one after the other.
func syncTime(t *testing.T, dir string) time.Duration {
	t.Helper()
	const files = 2 * lanes // segments and positions
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begin := time.Now()
	if _, err := f.Write(make([]byte, 4<<10)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return files * time.Since(begin)
}
