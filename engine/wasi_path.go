package engine

import "github.com/gojinn/gojinn/engine/vfs"

// costPathByte is charged for each byte of a path: every component of it can be
// a system call.
const costPathByte = 50

// at returns an open directory and a path relative to it, as most path_
// functions take them.
func (p *process) at(fd, path, length uint32, need rights) (*vfs.Dir, string, errno) {
	d, errno := p.directory(fd, need)
	if errno != 0 {
		return nil, "", errno
	}
	name, errno := p.mem.path(path, length)
	if errno != 0 {
		return nil, "", errno
	}
	p.sandbox.charge(int64(len(name)) * costPathByte)
	return d.dir, name, 0
}

// follows reads lookupflags (typenames.witx, $lookupflags): whether a symbolic
// link at the end of a path is followed.
func follows(flags uint32) (bool, errno) {
	const symlinkFollow = 1
	if flags&^symlinkFollow != 0 {
		return false, vfs.EINVAL
	}
	return flags&symlinkFollow != 0, 0
}

// How path_open opens (typenames.witx, $oflags).
const (
	oCreate = 1 << iota
	oDirectory
	oExclusive
	oTruncate
)

// openFlags translates what path_open was asked for. The rights matter only in
// that they tell reading from writing; a descriptor gets all others anyway.
func openFlags(lookup, open uint32, base rights, flags uint32) (vfs.OpenFlags, errno) {
	const all = oCreate | oDirectory | oExclusive | oTruncate
	follow, errno := follows(lookup)
	if errno != 0 || open&^all != 0 || flags&^uint32(flagsAll) != 0 {
		return 0, vfs.EINVAL
	}
	var o vfs.OpenFlags
	for _, f := range []struct {
		given bool
		flag  vfs.OpenFlags
	}{
		{!follow, vfs.NoFollow},
		{open&oCreate != 0, vfs.Create},
		{open&oDirectory != 0, vfs.OnlyDirectory},
		{open&oExclusive != 0, vfs.Exclusive},
		{open&oTruncate != 0, vfs.Truncate},
		{base&rightFDWrite != 0, vfs.Write},
		{base&rightFDRead != 0 || base&rightFDWrite == 0, vfs.Read},
		{flags&uint32(flagAppend) != 0 && base&rightFDWrite != 0, vfs.Append},
		{flags&uint32(flagNonblock) != 0, vfs.NonBlock},
		{flags&uint32(flagsSync) != 0, vfs.Sync},
	} {
		if f.given {
			o |= f.flag
		}
	}
	if o&vfs.OnlyDirectory != 0 {
		// Some programs ask for every right. Of a directory they can only have
		// those to read.
		o = o&^(vfs.Write|vfs.Append) | vfs.Read
	}
	return o, 0
}

func (p *process) pathOpen(fd, lookup, path, length, open uint32, base, inheriting rights, flags, result uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathOpen)
	if errno != 0 {
		return errno
	}
	at, ok := p.mem.at(result, 4)
	if !ok {
		return vfs.EFAULT
	}
	how, errno := openFlags(lookup, open, base, flags)
	if errno != 0 {
		return errno
	}
	parent := p.files.get(fd)
	if errno := mayOpen(parent, how); errno != 0 {
		return errno
	}
	// Before anything is made or emptied.
	if errno := p.files.room(); errno != 0 {
		return errno
	}
	file, err := dir.Open(p.life, name, how)
	if err != nil {
		return vfs.ErrnoOf(err)
	}
	opened := newDescriptor(file, how, fdFlags(flags))
	d := &opened
	d.base &= parent.inheriting
	d.inheriting = parent.inheriting
	le.PutUint32(at, p.files.add(d))
	return 0
}

// mayOpen is ENOTCAPABLE if the directory has given up a right that is needed.
func mayOpen(d *descriptor, how vfs.OpenFlags) errno {
	var base, inherited rights
	if how&vfs.Create != 0 {
		base |= rightPathCreateFile
	}
	if how&vfs.Truncate != 0 {
		base |= rightPathFilestatSetSize
	}
	if how&vfs.Read != 0 {
		inherited |= rightFDRead
	}
	if how&vfs.Write != 0 {
		inherited |= rightFDWrite
	}
	if base&^d.base != 0 || inherited&^d.inheriting != 0 {
		return vfs.ENOTCAPABLE
	}
	return 0
}

func (p *process) pathCreateDirectory(fd, path, length uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathCreateDirectory)
	if errno != 0 {
		return errno
	}
	return vfs.ErrnoOf(dir.Mkdir(p.life, name))
}

func (p *process) pathRemoveDirectory(fd, path, length uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathRemoveDirectory)
	if errno != 0 {
		return errno
	}
	return vfs.ErrnoOf(dir.Rmdir(p.life, name))
}

func (p *process) pathUnlinkFile(fd, path, length uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathUnlinkFile)
	if errno != 0 {
		return errno
	}
	return vfs.ErrnoOf(dir.Unlink(p.life, name))
}

func (p *process) pathFilestatGet(fd, lookup, path, length, result uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathFilestatGet)
	if errno != 0 {
		return errno
	}
	follow, errno := follows(lookup)
	if errno != 0 {
		return errno
	}
	at, ok := p.mem.at(result, filestatSize)
	if !ok {
		return vfs.EFAULT
	}
	stat, err := dir.Lookup(p.life, name, follow)
	if err != nil {
		return vfs.ErrnoOf(err)
	}
	putFilestat(at, stat)
	return 0
}

func (p *process) pathFilestatSetTimes(fd, lookup, path, length uint32, accessed, modified uint64, which uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathFilestatSetTimes)
	if errno != 0 {
		return errno
	}
	follow, errno := follows(lookup)
	if errno != 0 {
		return errno
	}
	a, m, errno := newTimes(accessed, modified, which)
	if errno != 0 {
		return errno
	}
	return vfs.ErrnoOf(dir.SetTimesOf(p.life, name, follow, a, m))
}

// pathLink makes hard links. Following a symbolic link first is EINVAL, as in
// other implementations.
func (p *process) pathLink(fd, lookup, path, length, newFD, newPath, newLength uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathLinkSource)
	if errno != 0 {
		return errno
	}
	newDir, newName, errno := p.at(newFD, newPath, newLength, rightPathLinkTarget)
	if errno != 0 {
		return errno
	}
	if lookup != 0 {
		return vfs.EINVAL
	}
	return vfs.ErrnoOf(dir.Link(p.life, name, newDir, newName))
}

func (p *process) pathRename(fd, path, length, newFD, newPath, newLength uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathRenameSource)
	if errno != 0 {
		return errno
	}
	newDir, newName, errno := p.at(newFD, newPath, newLength, rightPathRenameTarget)
	if errno != 0 {
		return errno
	}
	return vfs.ErrnoOf(dir.Rename(p.life, name, newDir, newName))
}

func (p *process) pathSymlink(target, targetLength, fd, path, length uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathSymlink)
	if errno != 0 {
		return errno
	}
	to, errno := p.mem.path(target, targetLength)
	if errno != 0 {
		return errno
	}
	return vfs.ErrnoOf(dir.Symlink(p.life, to, name))
}

// pathReadlink cuts a target that is longer than the buffer, as readlink does.
func (p *process) pathReadlink(fd, path, length, buffer, size, result uint32) errno {
	dir, name, errno := p.at(fd, path, length, rightPathReadlink)
	if errno != 0 {
		return errno
	}
	to, ok := p.mem.at(buffer, size)
	used, okUsed := p.mem.at(result, 4)
	if !ok || !okUsed {
		return vfs.EFAULT
	}
	target, err := dir.Readlink(p.life, name)
	if err != nil {
		return vfs.ErrnoOf(err)
	}
	le.PutUint32(used, uint32(copy(to, target)))
	return 0
}
