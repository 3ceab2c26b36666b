package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// testBuild returns a build that packs the same program, built for this machine, for every platform. `make image` and
// `make release` show that each platform can be built.
func testBuild(t *testing.T, binary string) build {
	t.Helper()
	return build{
		root: "../..", out: t.TempDir(), version: "1.2.3", revision: "abc", created: time.Unix(1_700_000_000, 0).UTC(),
		compile: func(platform) (string, error) { return binary, nil },
	}
}

func compileHere(t *testing.T) string {
	t.Helper()
	binary, err := compile("../..", t.TempDir(), "-s -w", platform{"linux", runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestImage makes the archive twice and checks its content.
func TestImage(t *testing.T) {
	binary := compileHere(t)
	b := testBuild(t, binary)
	again := testBuild(t, binary)
	for _, b := range []build{b, again} {
		if err := b.image(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the same twice", func(t *testing.T) { sameFolders(t, b.out, again.out) })

	index := openArchive(t, filepath.Join(b.out, "envoy-scraper.oci.tar"))
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(m.Platform.Architecture, func(t *testing.T) { checkImage(t, b, img, m.Platform.Architecture) })
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms %v, want %v", platforms, want)
	}
}

func checkImage(t *testing.T, b build, img v1.Image, arch string) {
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.OS != "linux" || file.Architecture != arch {
		t.Errorf("config is for %s/%s, want linux/%s", file.OS, file.Architecture, arch)
	}
	user, group, _ := strings.Cut(file.Config.User, ":")
	if n, err := strconv.Atoi(user); err != nil || n == 0 || group != user {
		t.Errorf("user %q, want a number that is not 0, and its group", file.Config.User)
	}
	if runAs := "runAsUser: " + user; !bytes.Contains(read(t, "../../deploy/manifests/daemonset.yaml"),
		[]byte(runAs+"\n")) {
		t.Errorf("the DaemonSet does not say %s", runAs)
	}
	if got := file.Config.Labels["org.opencontainers.image.version"]; got != b.version {
		t.Errorf("version label %q, want %q", got, b.version)
	}

	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers (%v), want 1", len(layers), err)
	}
	unpacked, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{}
	var list []string
	for r := tar.NewReader(unpacked); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(b.created) {
			t.Errorf("%s is of %v, want the commit's time", h.Name, h.ModTime)
		}
		list = append(list, fmt.Sprintf("%04o %d:%d %s", h.Mode, h.Uid, h.Gid, h.Name))
		if contents[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"0755 0:0 envoy-scraper", "0755 0:0 etc/", "0644 0:0 etc/group", "0644 0:0 etc/passwd", "0755 0:0 etc/ssl/",
		"0755 0:0 etc/ssl/certs/", "0644 0:0 etc/ssl/certs/ca-certificates.crt", "0755 0:0 var/", "0755 0:0 var/lib/",
		"0750 65532:65532 var/lib/envoy-scraper/",
	}
	if !slices.Equal(list, want) {
		t.Errorf("the layer holds\n%s\nwant\n%s", strings.Join(list, "\n"), strings.Join(want, "\n"))
	}
	// nolint:staticcheck // not the system's pool
	if roots := x509.NewCertPool(); !roots.AppendCertsFromPEM(contents["etc/ssl/certs/ca-certificates.crt"]) ||
		len(roots.Subjects()) < 100 {
		t.Errorf("%d root certificates, want at least 100", len(roots.Subjects())) //nolint:staticcheck // as above
	}
	if len(file.Config.Entrypoint) != 1 {
		t.Fatalf("entry point %q, want the program alone", file.Config.Entrypoint)
	}
	runExtracted(t, contents[file.Config.Entrypoint[0][1:]])
}

// runExtracted runs the program of the layer.
func runExtracted(t *testing.T, content []byte) {
	if runtime.GOOS != "linux" {
		t.Log("not run: the program in the image is for linux")
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "envoy-scraper")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	job := filepath.Join(dir, "jobs.yml")
	yaml := "- job_name: envoy-stats\n  kubernetes_sd_configs: [{role: pod}]\n"
	if err := os.WriteFile(job, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--version"}, {"check", job}} {
		if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// openArchive returns the only index of the archive.
func openArchive(t *testing.T, path string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	for name, content := range untar(t, bytes.NewReader(read(t, path))) {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("index.json names %d manifests (%v), want 1", len(manifest.Manifests), err)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func untar(t *testing.T, from io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sameFolders compares all files except the program.
func sameFolders(t *testing.T, a, b string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(a, "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d files (%v), want an archive, a bill of materials and checksums", len(files), err)
	}
	for _, file := range files {
		if !bytes.Equal(read(t, file), read(t, filepath.Join(b, filepath.Base(file)))) {
			t.Errorf("%s differs between two builds", filepath.Base(file))
		}
	}
}

// TestRelease makes the archives twice and checks their content.
func TestRelease(t *testing.T) {
	binary := compileHere(t)
	b, again := testBuild(t, binary), testBuild(t, binary)
	for _, b := range []build{b, again} {
		if err := b.release(); err != nil {
			t.Fatal(err)
		}
	}
	sameFolders(t, b.out, again.out)
	for _, p := range releasePlatforms() {
		folder := "envoy-scraper-1.2.3." + p.String()
		var got []string
		if p.os == "windows" {
			z, err := zip.OpenReader(filepath.Join(b.out, folder+".zip"))
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			for _, f := range z.File {
				if !f.Mode().IsDir() {
					got = append(got, f.Name)
				}
			}
		} else {
			z, err := gzip.NewReader(bytes.NewReader(read(t, filepath.Join(b.out, folder+".tar.gz"))))
			if err != nil {
				t.Fatal(err)
			}
			for name := range untar(t, z) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		want := []string{folder + "/LICENSE", folder + "/README.md", folder + "/envoy-scraper"}
		if !slices.Equal(got, want) {
			t.Errorf("%s holds %q, want %q", p, got, want)
		}
	}
	lines := strings.Split(strings.TrimSpace(string(read(t, filepath.Join(b.out, "SHA256SUMS")))), "\n")
	if len(lines) != 12 {
		t.Errorf("%d checksums, want 12", len(lines))
	}
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		if got := fmt.Sprintf("%x", sha256.Sum256(read(t, filepath.Join(b.out, name)))); got != sum {
			t.Errorf("%s: checksum %s, listed %s", name, got, sum)
		}
	}
}

// TestBill compares the bill of materials with the program's go.mod.
func TestBill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bill.json")
	if err := writeBill(compileHere(t), path, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	bill := string(read(t, path))
	for _, want := range []string{`"bomFormat": "CycloneDX"`, `pkg:golang/std@`,
		`pkg:golang/github.com/prometheus/prometheus@v0.`, `"value": "h1:`,
		`pkg:golang/github.com/envoy-scraper/envoy-scraper@1.2.3`} {
		if !strings.Contains(bill, want) {
			t.Errorf("the bill of materials lacks %s", want)
		}
	}
	for _, never := range []string{"serialNumber", "timestamp"} {
		if strings.Contains(bill, never) {
			t.Errorf("the bill of materials has a %s, which differs between builds", never)
		}
	}
}
