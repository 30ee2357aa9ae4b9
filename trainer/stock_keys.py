"""Keys of the models and datasets of BasicSR 1.4.2 and GFPGAN 1.3.8, which read a bare dict."""

from typing import Any

from refstar.utils.option_block import Count, Iterations, IterationsFrom0, Number, Numbers

from .run_options import Loss, Network, Optimizer

STOCK_KEYS: dict[str, tuple[Any, str]] = {  # key -> its type and what it does
    'network_g': (Network, 'the network: `type` and its arguments'),
    'network_d': (Network, 'its discriminator: `type` and its arguments'),
    'network_d_left_eye': (Network, 'discriminator of left eyes; needs the other two and `crop_components`'),
    'network_d_right_eye': (Network, 'discriminator of right eyes'),
    'network_d_mouth': (Network, 'discriminator of mouths'),
    'network_identity': (Network, 'face recognition network of the identity loss'),
    'train.optim_g': (Optimizer, 'optimizer of network_g'),
    'train.optim_d': (Optimizer, 'optimizer of network_d'),
    'train.optim_component': (Optimizer, 'optimizer of the discriminators of eyes and mouth'),
    'train.pixel_opt': (Loss, 'loss between output and GT'),
    'train.perceptual_opt': (Loss, 'perceptual and style loss'),
    'train.gan_opt': (Loss, 'adversarial loss'),
    'train.ldl_opt': (Loss, 'loss of local artifacts (LDL)'),
    'train.feature_matching_opt': (Loss, 'loss between features of the discriminator'),
    'train.L1_opt': (Loss, 'the L1 of pyramid, components and identity'),
    'train.gan_component_opt': (Loss, 'adversarial loss of eyes and mouth'),
    'train.comp_style_weight': (Number, 'factor on the style loss of eyes and mouth (default 0)'),
    'train.identity_weight': (Number, 'factor on the identity loss'),
    'train.pyramid_loss_weight': (Number, 'factor on the loss of the pyramid (default 0)'),
    'train.remove_pyramid_loss': (Number, 'last iteration of the pyramid loss (default: all)'),
    'train.net_d_iters': (Iterations, 'network_g is trained every so many iterations (default 1)'),
    'train.net_d_init_iters': (IterationsFrom0, 'network_d is trained alone for so many iterations (default 0)'),
    'train.net_d_reg_every': (Iterations, 'R1 every so many iterations'),
    'train.net_g_reg_every': (Iterations, 'path length penalty every so many iterations'),
    'train.r1_reg_weight': (Number, 'factor on the R1 penalty of network_d'),
    'train.path_reg_weight': (Number, 'factor on the path length penalty of network_g'),
    'train.path_batch_shrink': (Count, 'the path length penalty takes the batch divided by this'),
    'train.mixing_prob': (Number, 'share of samples with two styles'),
    'train.dcn_lr_mul': (Number, 'factor on the learning rate of deformable convolutions'),
    'train.tsa_iter': (IterationsFrom0, 'iterations in which only the module TSA is trained'),
    'train.fix_flow': (IterationsFrom0, 'iterations in which the optical flow is not trained'),
    'train.flow_lr_mul': (Number, 'factor on the learning rate of the optical flow'),
    'train.lr_flow': (Number, 'learning rate of the optical flow'),
    'val.num_val_samples': (Count, 'how many pictures are drawn (default 16)'),
    'val.center_frame_only': (bool, 'figures of the middle frame alone'),
    'val.flip_seq': (bool, 'sequences are mirrored in time to twice their length'),
    'gt_size': (Count, 'side of the crop of GT, in pixels'),
    'queue_size': (Count, 'samples in the pool of which batches are drawn'),
    'high_order_degradation': (bool, 'the two-fold degradation of Real-ESRGAN (default true)'),
    'gt_usm': (bool, 'GT is sharpened'),
    'l1_gt_usm': (bool, 'GT of the pixel loss is sharpened'),
    'percep_gt_usm': (bool, 'GT of the perceptual loss is sharpened'),
    'gan_gt_usm': (bool, 'GT of the adversarial loss is sharpened'),
    'second_blur_prob': (Number, 'share of samples that are blurred twice'),
    **{
        f'{name}{again}': (kind, text + (', the second time' if again else ''))
        for again in ('', '2')
        for name, kind, text in (
            ('resize_prob', Numbers, 'shares of samples that are enlarged, made smaller, kept'),
            ('resize_range', Numbers, 'range of that factor'),
            ('gaussian_noise_prob', Number, 'share of samples with Gaussian noise; the others get Poisson noise'),
            ('noise_range', Numbers, 'range of the standard deviation, of 255'),
            ('poisson_scale_range', Numbers, 'range of the scale of Poisson noise'),
            ('gray_noise_prob', Number, 'share of samples with grey noise'),
            ('jpeg_range', Numbers, 'range of the JPEG quality'),
        )
    },
}
_GAN = 'network_d train.optim_d train.gan_opt train.net_d_iters train.net_d_init_iters'
_DEGRADED = (
    'gt_size queue_size high_order_degradation second_blur_prob resize_prob resize_range gaussian_noise_prob '
    'noise_range poisson_scale_range gray_noise_prob jpeg_range resize_prob2 resize_range2 '
    'gaussian_noise_prob2 noise_range2 poisson_scale_range2 gray_noise_prob2 jpeg_range2'
)
# Model class -> keys that it reads beyond those of its bases. VideoBaseModel, SwinIRModel ... read none.
STOCK_MODELS = {
    'SRModel': 'network_g train.optim_g train.pixel_opt train.perceptual_opt',
    'SRGANModel': f'{_GAN} train.ldl_opt',
    'RealESRNetModel': f'gt_usm {_DEGRADED}',
    'RealESRGANModel': f'l1_gt_usm percep_gt_usm gan_gt_usm {_DEGRADED}',
    'EDVRModel': 'train.dcn_lr_mul train.tsa_iter',
    'VideoRecurrentModel': 'train.fix_flow train.flow_lr_mul val.center_frame_only val.flip_seq',
    'VideoRecurrentGANModel': f'{_GAN} train.fix_flow train.lr_flow',
    'HiFaceGANModel': f'{_GAN} train.feature_matching_opt',
    'StyleGAN2Model': 'network_g network_d train.optim_g train.optim_d train.gan_opt train.net_d_reg_every '
    'train.net_g_reg_every train.r1_reg_weight train.path_reg_weight train.path_batch_shrink train.mixing_prob '
    'val.num_val_samples',
    'GFPGANModel': f'network_g {_GAN} network_d_left_eye network_d_right_eye network_d_mouth network_identity '
    'train.optim_g train.optim_component train.pixel_opt train.perceptual_opt train.L1_opt train.gan_component_opt '
    'train.comp_style_weight train.identity_weight train.net_d_reg_every train.pyramid_loss_weight '
    'train.r1_reg_weight train.remove_pyramid_loss',
}
_REDS = (
    'dataroot_gt dataroot_lq dataroot_flow gt_size interval_list meta_info_file num_frame random_reverse test_mode '
    'use_hflip use_rot val_partition'
)
_VIDEO = 'cache_data dataroot_gt dataroot_lq meta_info_file num_frame padding use_duf_downsampling'
_VIMEO = 'dataroot_gt dataroot_lq flip_sequence gt_size meta_info_file num_frame random_reverse use_hflip use_rot'
STOCK_DATASETS = {  # dataset class -> keys that it reads
    'FFHQDataset': 'dataroot_gt mean std use_hflip',
    'FFHQDegradationDataset': 'blur_kernel_size blur_sigma brightness color_jitter_prob color_jitter_pt_prob '
    'color_jitter_shift component_path contrast crop_components dataroot_gt downsample_range eye_enlarge_ratio '
    'gray_prob gt_gray hue jpeg_range kernel_list kernel_prob mean noise_range out_size saturation std use_hflip',
    'PairedImageDataset': 'color dataroot_gt dataroot_lq filename_tmpl gt_size mean meta_info_file std use_hflip '
    'use_rot',
    'SingleImageDataset': 'color dataroot_lq mean meta_info_file std',
    'REDSDataset': _REDS,
    'REDSRecurrentDataset': _REDS,
    'RealESRGANDataset': 'betag_range betag_range2 betap_range betap_range2 blur_kernel_size blur_kernel_size2 '
    'blur_sigma blur_sigma2 dataroot_gt final_sinc_prob gt_size kernel_list kernel_list2 kernel_prob kernel_prob2 '
    'meta_info sinc_prob sinc_prob2 use_hflip use_rot',  # gt_size: in upstream's files; nothing reads it
    'RealESRGANPairedDataset': 'dataroot_gt dataroot_lq filename_tmpl gt_size mean meta_info std use_hflip use_rot',
    'VideoTestDataset': _VIDEO,
    'VideoTestVimeo90KDataset': _VIDEO,
    'Vimeo90KDataset': _VIMEO,
}
