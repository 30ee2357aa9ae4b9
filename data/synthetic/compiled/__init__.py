"""Loops over pixels, compiled by numba: photos of people and the correspondence between them.

Import from here inside functions only: numba takes a second to import, which `import refstar` should not.
`loops` of one file call `points`, functions of one pixel, of others:

    compiler    how they are compiled and kept on disk
    geometry    photo pixels <-> canonical coordinates, one point at a time
    lookup      values between the entries of a grid or the texels of a texture
    warp        the inverse of a displacement (loop)
    shading     light, what is behind the face, glasses, one point at a time
    sketch      all that is smooth in a photo, at half the resolution (loop)
    render      the photo (loop), glasses (loop)
    match       the correspondence of two photos (loop)
"""
