package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	uid     = 65532 // the runAsUser of the manifests; no user of a node has it
	dataDir = "/var/lib/envoy-scraper"
	program = "/envoy-scraper"
	source  = "https://github.com/envoy-scraper/envoy-scraper"
)

func imagePlatforms() []platform { return []platform{{"linux", "amd64"}, {"linux", "arm64"}} }

// image writes the OCI archive, a bill of materials for each platform, and their checksums.
func (b build) image() error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	names := []string{"envoy-scraper.oci.tar"}
	for _, p := range imagePlatforms() {
		binary, err := b.compile(p)
		if err != nil {
			return err
		}
		img, err := b.platformImage(binary, p)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.os, Architecture: p.arch}},
		})
		name := "envoy-scraper." + p.String() + ".cdx.json"
		if err := writeBill(binary, filepath.Join(b.out, name), b.version); err != nil {
			return err
		}
		names = append(names, name)
	}
	index = mutate.Annotations(index, b.labels()).(v1.ImageIndex)
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if err := b.archive(index, filepath.Join(b.out, names[0])); err != nil {
		return err
	}
	fmt.Printf("%s  %s\n", digest, filepath.Join(b.out, names[0]))
	return sums(b.out, names)
}

func (b build) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title": "envoy-scraper",
		"org.opencontainers.image.description": "Scrapes the Envoy sidecars of a service mesh into the Prometheus " +
			"that you already run.",
		"org.opencontainers.image.source":   source,
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  b.version,
		"org.opencontainers.image.revision": b.revision,
		"org.opencontainers.image.created":  b.created.Format(time.RFC3339),
	}
}

// platformImage returns an image with a single layer.
func (b build) platformImage(binary string, p platform) (v1.Image, error) {
	entries, err := layerEntries(binary)
	if err != nil {
		return nil, err
	}
	var layerTar bytes.Buffer
	if err := writeTar(&layerTar, entries, b.created); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layerTar.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: b.created}, CreatedBy: "make image"},
	})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: b.created}
	file.OS, file.Architecture = p.os, p.arch
	user := strconv.Itoa(uid)
	file.Config = v1.Config{
		// A number, because a kubelet cannot check whether a name is root.
		User:         user + ":" + user,
		Entrypoint:   []string{program},
		WorkingDir:   dataDir, // the default of --storage.path is ./data
		ExposedPorts: map[string]struct{}{"9095/tcp": {}},
		Volumes:      map[string]struct{}{dataDir: {}},
		Labels:       b.labels(),
	}
	return mutate.ConfigFile(img, file)
}

// layerEntries lists all files of the image.
func layerEntries(binary string) ([]entry, error) {
	program, err := fileEntry(binary, program[1:], 0o755)
	if err != nil {
		return nil, err
	}
	id := strconv.Itoa(uid)
	return []entry{
		program,
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nenvoy-scraper:x:" + id + ":\n")},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/none\n" +
			"envoy-scraper:x:" + id + ":" + id + ":envoy-scraper:" + dataDir + ":/none\n")},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: roots()},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: dataDir[1:] + "/", mode: 0o750, owner: uid},
	}, nil
}

// roots returns Mozilla's unconstrained root certificates in PEM.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			// writing to a Buffer cannot fail
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return out.Bytes()
}

// archive writes an OCI image layout as one tar file. Its index.json names the image's index, with the version as
// the reference, since tools that copy an archive expect one entry there.
func (b build) archive(index v1.ImageIndex, path string) error {
	dir, err := os.MkdirTemp("", "oci")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	reference := map[string]string{"org.opencontainers.image.ref.name": b.version}
	if err := l.AppendIndex(index, layout.WithAnnotations(reference)); err != nil {
		return err
	}
	var entries []entry
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error { // sorted by name
		name, relErr := filepath.Rel(dir, file)
		if err != nil || relErr != nil || d.IsDir() {
			return err
		}
		e, err := fileEntry(file, filepath.ToSlash(name), 0o644)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := writeTar(out, entries, b.created); err != nil {
		return err
	}
	return out.Close()
}
