package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// codeCache is what programs need to be loaded again, on disk. Each has
// two files: the machine code, which wazero has written and reads, and one of
// ours with everything else. They are written aside and renamed, so that no half of
// one is ever seen; any number of processes may share the folder. What is damaged,
// or of another version, is as good as missing. Safe for concurrent use; nil is
// one that keeps nothing.
//
// A program's file begins with storeMagic. Then follow, in little-endian order, the
// length of the header and of all that follows it and their CRC-32C, four bytes each; the header, which is
// JSON; the module's skeleton (see [rewrite.Skeleton]); and the bytes of the runs of
// its memory image, one after the other.
type codeCache struct {
	dir   string
	limit int64 // bytes; 0: none
	log   func(error)

	mu         sync.Mutex
	size       int64     // of all files, as far as is known
	complained time.Time // last
}

// stored is a program as the cache has it.
type stored struct {
	Report   *rewrite.Report // without its Image, until it is loaded
	Runs     []storedRun     // the image
	Skeleton int             // bytes
	Code     string          // the machine code's file, relative to the cache's folder
	CodeSize int64           // bytes
	CodeSum  uint32          // CRC-32C
	Took     time.Duration   // to rewrite and compile

	skeleton []byte
}

type storedRun struct{ Offset, Length uint32 }

const (
	storeMagic = "gojinn program 1\n"
	// storeHead is how many bytes precede the header.
	storeHead = len(storeMagic) + 12
	// maxHeader bounds a program's header, in bytes.
	maxHeader = 64 << 20
	// programFiles is what the names of programs' files end with.
	programFiles = ".program"
	// wazeroFolders matches the folders in which wazero keeps machine code, one for
	// each of its versions.
	wazeroFolders = "wazero-*"
	// workPrefix begins the names of folders in which something is being compiled.
	workPrefix = "work-"
	// workLife is after how long such a folder can't be anybody's any more.
	workLife = time.Hour
	// workBegin is within what time a process holds the folder that it has made.
	workBegin = 10 * time.Second
	// touchAge is how old the time of last use of a file gets before it is renewed.
	touchAge = 10 * time.Minute
	// complaintPause is the least time between two complaints about the cache.
	complaintPause = time.Minute
)

// errNotStored says that the cache doesn't have a program.
var errNotStored = errors.New("not in the code cache")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openCodeCache opens the cache in dir, which is made with mode 0700 if missing. A
// folder that others could write to is refused, since what it holds is run as it is.
func openCodeCache(dir string, limit int64, log func(error)) (*codeCache, error) {
	doing := func(err error) error { return fmt.Errorf("opening the code cache %s: %w", dir, err) }
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, doing(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, doing(err)
	}
	s := &codeCache{dir: dir, limit: limit, log: log}
	if err := s.check(); err != nil {
		return nil, doing(err)
	}
	s.clean()
	return s, nil
}

// check refuses folders that are open to others.
func (s *codeCache) check() error {
	if err := checkPrivate(s.dir); err != nil {
		return err
	}
	folders, err := s.versionFolders()
	for i := 0; i < len(folders) && err == nil; i++ {
		err = checkPrivate(folders[i])
	}
	return err
}

func (s *codeCache) versionFolders() ([]string, error) {
	return filepath.Glob(filepath.Join(escapeGlob(s.dir), wazeroFolders))
}

// escapeGlob makes filepath.Glob take dir as it is written.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(dir)
}

// clean removes what processes that were killed have left, and counts the rest.
func (s *codeCache) clean() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.complain(err)
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !strings.HasPrefix(entry.Name(), workPrefix) {
			continue
		}
		if path := filepath.Join(s.dir, entry.Name()); isLeft(path, time.Since(info.ModTime())) {
			if err := os.RemoveAll(path); err != nil {
				s.complain(err)
			}
		}
	}
	s.shrink(0)
}

// isLeft tells whether nobody works any more on what was last worked on so long ago.
func isLeft(path string, age time.Duration) bool {
	if age < workBegin || age >= workLife {
		return age >= workLife
	}
	release, err := hold(path)
	if err != nil {
		return false
	}
	release()
	return true
}

// aside is a folder within the cache's in which something is made.
type aside struct {
	dir     string
	release func()
}

// newAside makes a folder that others leave alone while this process lives. It is to be
// removed.
func newAside(within string) (*aside, error) {
	dir, err := os.MkdirTemp(within, workPrefix)
	if err != nil {
		return nil, err
	}
	w := &aside{dir: dir}
	if w.release, err = hold(dir); err != nil {
		w.release = func() {} // then its age protects it
	}
	return w, nil
}

func (w *aside) remove() error {
	defer w.release()
	return os.RemoveAll(w.dir)
}

// name is the path of a program's file.
func (s *codeCache) name(key programKey) string {
	return filepath.Join(s.dir, mark(key)+programFiles)
}

// mark names a program and how it has been rewritten.
func mark(key programKey) string {
	name := key.digest.String() + "-" + rewrite.Version
	if !key.options.Meter {
		name += "-unmetered"
	}
	if !key.options.Detach {
		name += "-attached"
	}
	return name
}

// header reads the first part of a program's file, the rest of which it does not check.
func (s *codeCache) header(key programKey) (*stored, error) {
	if s == nil {
		return nil, errNotStored
	}
	f, err := os.Open(s.name(key))
	if err != nil {
		return nil, errNotStored
	}
	defer f.Close()
	first := make([]byte, 4<<10) // most headers are shorter
	n, err := io.ReadFull(f, first)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || n < storeHead || string(first[:len(storeMagic)]) != storeMagic {
		return nil, errNotStored
	}
	length := int(binary.LittleEndian.Uint32(first[len(storeMagic):]))
	if length > maxHeader {
		return nil, errNotStored
	}
	text := first[storeHead:n]
	if length > len(text) {
		rest := make([]byte, length-len(text))
		if _, err := io.ReadFull(f, rest); err != nil {
			return nil, errNotStored
		}
		text = append(text, rest...)
	}
	return parseHeader(text[:length])
}

func parseHeader(text []byte) (*stored, error) {
	p := new(stored)
	if json.Unmarshal(text, p) != nil || p.Report == nil || p.Report.Memory == nil {
		return nil, errNotStored
	}
	return p, nil
}

// load reads a program. The error is errNotStored if the cache doesn't have it, or
// not as it was written.
func (s *codeCache) load(key programKey) (*stored, error) {
	if err := s.check(); err != nil {
		s.complain(err)
		return nil, errNotStored
	}
	file := s.name(key)
	whole, err := readOwn(file)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.complain(err)
		}
		return nil, errNotStored
	}
	p, err := parseProgram(whole)
	if err == nil {
		err = s.checkCode(p)
	}
	if err != nil {
		s.complain(fmt.Errorf("%s is made anew: %w", file, err))
		s.remove(key)
		return nil, errNotStored
	}
	s.touch(file)
	s.touch(filepath.Join(s.dir, p.Code))
	return p, nil
}

// parseProgram takes a program's file apart.
func parseProgram(whole []byte) (*stored, error) {
	errDamaged := errors.New("the file is damaged")
	if len(whole) < storeHead || string(whole[:len(storeMagic)]) != storeMagic {
		return nil, errDamaged
	}
	numbers, body := whole[len(storeMagic):storeHead], whole[storeHead:]
	header := binary.LittleEndian.Uint32(numbers)
	length, sum := binary.LittleEndian.Uint32(numbers[4:]), binary.LittleEndian.Uint32(numbers[8:])
	if uint64(header)+uint64(length) != uint64(len(body)) || crc32.Checksum(body, castagnoli) != sum {
		return nil, errDamaged
	}
	p, err := parseHeader(body[:header])
	if err != nil {
		return nil, errDamaged
	}
	body = body[header:]
	if p.Skeleton < 0 || p.Skeleton > len(body) {
		return nil, errDamaged
	}
	p.skeleton, body = body[:p.Skeleton], body[p.Skeleton:]
	p.Report.Image = make([]rewrite.Run, 0, len(p.Runs))
	for _, r := range p.Runs {
		if uint64(r.Length) > uint64(len(body)) {
			return nil, errDamaged
		}
		p.Report.Image = append(p.Report.Image, rewrite.Run{Offset: r.Offset, Bytes: body[:r.Length]})
		body = body[r.Length:]
	}
	return p, nil
}

// checkCode compares the machine code with what it was. wazero checks the code, but
// not the table that says where each function begins.
func (s *codeCache) checkCode(p *stored) error {
	if !filepath.IsLocal(p.Code) {
		return errors.New("its machine code lies elsewhere")
	}
	f, err := os.Open(filepath.Join(s.dir, p.Code))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkOwn(info); err != nil {
		return fmt.Errorf("%s: %w", p.Code, err)
	}
	if info.Size() != p.CodeSize {
		return fmt.Errorf("%s has %d bytes, not %d", p.Code, info.Size(), p.CodeSize)
	}
	sum, err := sumOf(f)
	if err == nil && sum != p.CodeSum {
		err = fmt.Errorf("%s is damaged", p.Code)
	}
	return err
}

// sumBuffers hold what is being summed up.
var sumBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func sumOf(r io.Reader) (sum uint32, err error) {
	buffer := sumBuffers.Get().(*[]byte)
	defer sumBuffers.Put(buffer)
	for {
		n, err := r.Read(*buffer)
		sum = crc32.Update(sum, castagnoli, (*buffer)[:n])
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// readOwn reads a file that must be a regular one of ours.
func readOwn(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkOwn(info); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	whole := make([]byte, info.Size())
	_, err = io.ReadFull(f, whole)
	return whole, err
}

// save compiles a rewritten module and keeps it. It takes the image out of the report
// it keeps, not out of the caller's.
func (s *codeCache) save(key programKey, rewritten []byte, report *rewrite.Report, start time.Time) error {
	if err := s.check(); err != nil {
		return err
	}
	skeleton := rewrite.Skeleton(rewritten, mark(key))
	p := &stored{Skeleton: len(skeleton)}
	if err := s.saveCode(p, skeleton, rewritten); err != nil {
		return err
	}
	bare := *report
	bare.Image, p.Report = nil, &bare
	p.Took = time.Since(start)
	data := [][]byte{skeleton}
	for _, r := range report.Image {
		p.Runs = append(p.Runs, storedRun{r.Offset, uint32(len(r.Bytes))})
		data = append(data, r.Bytes)
	}
	whole, err := p.encode(data)
	if err != nil {
		return err
	}
	if err := s.writeAside(s.name(key), whole); err != nil {
		// Code that belongs to no program would be in the way of others on a full disk.
		_ = os.Remove(filepath.Join(s.dir, p.Code))
		return err
	}
	s.grown(p.CodeSize + int64(len(whole)))
	return nil
}

// saveCode compiles a rewritten module, and keeps its machine code as if it were that of the
// skeleton: under the name by which wazero will look for that. The skeleton's own is never
// where it could be taken for the module's.
func (s *codeCache) saveCode(p *stored, skeleton, rewritten []byte) error {
	work, err := newAside(s.dir)
	if err != nil {
		return err
	}
	defer func() {
		if err := work.remove(); err != nil {
			s.complain(err)
		}
	}()
	named, err := compileAside(filepath.Join(work.dir, "skeleton"), skeleton)
	if err != nil {
		return err
	}
	full, err := compileAside(filepath.Join(work.dir, "module"), rewritten)
	if err != nil {
		return err
	}
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p.CodeSize = info.Size()
	if p.CodeSum, err = sumOf(f); err != nil {
		return err
	}
	version := filepath.Base(filepath.Dir(named))
	p.Code = filepath.Join(version, filepath.Base(named))
	if err := os.Mkdir(filepath.Join(s.dir, version), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(full, filepath.Join(s.dir, p.Code))
}

// encode makes a program's file.
func (p *stored) encode(data [][]byte) ([]byte, error) {
	header, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	rest := bytes.Join(data, nil)
	whole := append(make([]byte, 0, storeHead+len(header)+len(rest)), storeMagic...)
	whole = binary.LittleEndian.AppendUint32(whole, uint32(len(header)))
	whole = binary.LittleEndian.AppendUint32(whole, uint32(len(rest)))
	whole = binary.LittleEndian.AppendUint32(whole, 0)
	whole = append(append(whole, header...), rest...)
	binary.LittleEndian.PutUint32(whole[storeHead-4:], crc32.Checksum(whole[storeHead:], castagnoli))
	return whole, nil
}

// writeAside writes a file so that others see all of it or nothing. A sum in it
// tells whether a crash of the system has left less.
func (s *codeCache) writeAside(file string, whole []byte) error {
	work, err := newAside(s.dir)
	if err != nil {
		return err
	}
	temporary := filepath.Join(work.dir, filepath.Base(file))
	if err = os.WriteFile(temporary, whole, 0o600); err == nil {
		err = os.Rename(temporary, file)
	}
	if errRemove := work.remove(); err == nil {
		err = errRemove
	}
	return err
}

// remove removes a program's file. Its code goes when it is the one that has not been used for
// longest, or is replaced.
func (s *codeCache) remove(key programKey) {
	if err := os.Remove(s.name(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.complain(err)
	}
}

// touch notes that a file is in use.
func (s *codeCache) touch(file string) {
	info, err := os.Stat(file)
	if err == nil && time.Since(info.ModTime()) > touchAge {
		now := time.Now()
		_ = os.Chtimes(file, now, now) // at worst it is removed too early
	}
}

// grown counts new files, and makes room if there is too much.
func (s *codeCache) grown(bytes int64) {
	s.mu.Lock()
	s.size += bytes
	over := s.limit > 0 && s.size > s.limit
	s.mu.Unlock()
	if over {
		s.shrink(s.limit / 10)
	}
}

// cached is a file in the cache.
type cached struct {
	path string
	size int64
	used time.Time
}

// shrink counts what is there and, if that is more than the limit, removes what has
// not been used for longest until it is less by spare. Half of a program is as good
// as none of it, and its other half is not used any more.
func (s *codeCache) shrink(spare int64) {
	files, err := s.files()
	if err != nil {
		s.complain(err)
		return
	}
	var size int64
	for _, f := range files {
		size += f.size
	}
	if s.limit > 0 && size > s.limit {
		slices.SortFunc(files, func(a, b cached) int { return a.used.Compare(b.used) })
		for _, f := range files {
			if size <= s.limit-spare {
				break
			}
			if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.complain(err)
				continue
			}
			size -= f.size
		}
	}
	s.mu.Lock()
	s.size = size
	s.mu.Unlock()
}

// files lists what the cache has written.
func (s *codeCache) files() (files []cached, err error) {
	folders, err := s.versionFolders()
	if err != nil {
		return nil, err
	}
	for _, folder := range append(folders, s.dir) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if folder == s.dir && !strings.HasSuffix(entry.Name(), programFiles) {
				continue
			}
			info, err := entry.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue // it has just gone, or is not ours
			}
			files = append(files, cached{filepath.Join(folder, entry.Name()), info.Size(), info.ModTime()})
		}
	}
	return files, nil
}

// complain tells the operator what is wrong with the cache, now and then.
func (s *codeCache) complain(err error) {
	s.mu.Lock()
	tell := s.log != nil && time.Since(s.complained) >= complaintPause
	if tell {
		s.complained = time.Now()
	}
	s.mu.Unlock()
	if tell {
		s.log(fmt.Errorf("code cache: %w", err))
	}
}
