"""Loops over pixels, compiled by numba: photos of people and the correspondence between them.

They are compiled by `data/compiler.py`: import from here inside functions only.
`loops` of one file call `points`, functions of one pixel, of others:

    geometry    photo pixels <-> canonical coordinates, one point at a time
    lookup      values between the entries of a grid or the texels of a texture
    warp        the inverse of a displacement (loop)
    shading     light, what is behind the face, glasses, one point at a time
    sketch      all that is smooth in a photo, at half the resolution (loop)
    render      the photo (loop), glasses (loop)
    match       the correspondence of two photos (loop)
"""
