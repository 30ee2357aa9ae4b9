"""Keys of the models and datasets of BasicSR 1.4.2 and GFPGAN 1.3.8, which read a bare dict."""

from typing import Annotated, Any

from pydantic import Field

from refstar.utils.option_block import (
    Count,
    Expected,
    IoBackend,
    Iterations,
    IterationsFrom0,
    Names,
    Natural,
    Number,
    Numbers,
    Share,
)

from .run_options import Built

Pair = Annotated[list[float], Field(min_length=2, max_length=2), Expected('[low, high]')]
Three = Annotated[list[float], Field(min_length=3, max_length=3), Expected('a list of three numbers')]
Sides = Annotated[list[Natural] | Natural, Expected('whole numbers')]

_TWICE = 'resize_prob resize_range gaussian_noise_prob noise_range poisson_scale_range gray_noise_prob jpeg_range'
_BY_TYPE: dict[Any, str] = {
    Built: 'network_g network_d network_d_left_eye network_d_right_eye network_d_mouth network_identity train.optim_g '
    'train.optim_d train.optim_component train.pixel_opt train.perceptual_opt train.gan_opt train.ldl_opt '
    'train.feature_matching_opt train.L1_opt train.gan_component_opt',
    Iterations: 'train.net_d_iters train.net_d_reg_every train.net_g_reg_every',
    IterationsFrom0: 'train.net_d_init_iters train.tsa_iter train.fix_flow',
    Count: 'train.path_batch_shrink val.num_val_samples gt_size queue_size blur_kernel_size blur_kernel_size2 '
    'num_frame out_size',
    Number: 'train.comp_style_weight train.identity_weight train.pyramid_loss_weight train.remove_pyramid_loss '
    'train.r1_reg_weight train.path_reg_weight train.dcn_lr_mul train.flow_lr_mul train.lr_flow color_jitter_shift '
    'eye_enlarge_ratio',
    Share: 'train.mixing_prob second_blur_prob gaussian_noise_prob gaussian_noise_prob2 gray_noise_prob '
    'gray_noise_prob2 color_jitter_prob color_jitter_pt_prob final_sinc_prob gray_prob sinc_prob sinc_prob2',
    Pair: 'resize_range resize_range2 noise_range noise_range2 poisson_scale_range poisson_scale_range2 jpeg_range '
    'jpeg_range2 betag_range betag_range2 betap_range betap_range2 blur_sigma blur_sigma2 brightness contrast '
    'downsample_range hue saturation',
    Three: 'resize_prob resize_prob2',
    Numbers: 'kernel_prob kernel_prob2 mean std',
    Names: 'kernel_list kernel_list2',
    Sides: 'interval_list',
    IoBackend: 'io_backend',
    bool: 'val.center_frame_only val.flip_seq high_order_degradation gt_usm l1_gt_usm percep_gt_usm gan_gt_usm '
    'cache_data crop_components flip_sequence gt_gray random_reverse test_mode use_duf_downsampling use_hflip use_rot',
    str: 'color component_path dataroot_flow dataroot_gt dataroot_lq filename_tmpl meta_info meta_info_file padding '
    'val_partition',
}
TYPES = {key: kind for kind, keys in _BY_TYPE.items() for key in keys.split()}

_GAN = 'network_d train.optim_d! train.gan_opt! train.net_d_iters train.net_d_init_iters'
_DEGRADED = 'gt_size queue_size high_order_degradation second_blur_prob ' + ' '.join(
    f'{key} {key}2' for key in _TWICE.split()
)
_FILES = 'dataroot_gt! io_backend!'
_REDS = (
    f'{_FILES} dataroot_lq! dataroot_flow gt_size interval_list meta_info_file! num_frame! random_reverse test_mode '
    'use_hflip use_rot val_partition!'
)
_VIDEO = f'cache_data! {_FILES} dataroot_lq! meta_info_file num_frame padding use_duf_downsampling'
_PAIRS = f'{_FILES} dataroot_lq! filename_tmpl gt_size mean std use_hflip use_rot'
_BLUR = 'blur_kernel_size! kernel_list! kernel_prob! blur_sigma!'
# Class -> keys that it reads beyond those of its bases; ! for those that it needs. VideoBaseModel ... read none.
STOCK = {
    'SRModel': 'network_g! train.optim_g! train.pixel_opt train.perceptual_opt',
    'SRGANModel': f'{_GAN} train.ldl_opt',
    'RealESRNetModel': f'gt_usm {_DEGRADED}',
    'RealESRGANModel': f'l1_gt_usm percep_gt_usm gan_gt_usm {_DEGRADED}',
    'EDVRModel': 'train.dcn_lr_mul train.tsa_iter',
    'VideoRecurrentModel': 'train.fix_flow train.flow_lr_mul val.center_frame_only val.flip_seq',
    'VideoRecurrentGANModel': f'{_GAN} train.fix_flow train.lr_flow',
    'HiFaceGANModel': f'{_GAN} train.feature_matching_opt',
    'StyleGAN2Model': 'network_g! network_d train.optim_g! train.optim_d train.gan_opt train.net_d_reg_every '
    'train.net_g_reg_every train.r1_reg_weight train.path_reg_weight train.path_batch_shrink train.mixing_prob '
    'val.num_val_samples',
    'GFPGANModel': f'network_g! {_GAN} network_d_left_eye network_d_right_eye network_d_mouth network_identity '
    'train.optim_g! train.optim_component train.pixel_opt train.perceptual_opt train.L1_opt train.gan_component_opt '
    'train.comp_style_weight train.identity_weight train.net_d_reg_every train.pyramid_loss_weight '
    'train.r1_reg_weight train.remove_pyramid_loss',
    'FFHQDataset': f'{_FILES} mean! std! use_hflip!',
    'FFHQDegradationDataset': f'{_FILES} {_BLUR} brightness color_jitter_prob color_jitter_pt_prob color_jitter_shift '
    'component_path contrast crop_components downsample_range! eye_enlarge_ratio gray_prob gt_gray hue jpeg_range '
    'mean! noise_range out_size! saturation std! use_hflip!',
    'PairedImageDataset': f'{_PAIRS} color meta_info_file',
    'SingleImageDataset': 'dataroot_lq! io_backend! color mean meta_info_file std',
    'REDSDataset': _REDS,
    'REDSRecurrentDataset': _REDS,
    'RealESRGANDataset': f'{_FILES} {_BLUR} {_BLUR.replace("!", "2!")} betag_range! betag_range2! betap_range! '
    'betap_range2! final_sinc_prob! meta_info gt_size sinc_prob! sinc_prob2! use_hflip! use_rot!',
    'RealESRGANPairedDataset': f'{_PAIRS} meta_info',
    'VideoTestDataset': _VIDEO,
    'VideoTestVimeo90KDataset': _VIDEO,
    'Vimeo90KDataset': f'{_FILES} dataroot_lq! flip_sequence gt_size! meta_info_file! num_frame! random_reverse! '
    'use_hflip! use_rot!',
}
